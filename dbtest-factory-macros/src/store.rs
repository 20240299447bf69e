//! Where the ORMs differ: what a connection is, and how rows get into a table.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use crate::model::{Engine, Model, Orm};

pub(crate) struct Store {
    pub(crate) is_async: bool,
    pub(crate) lifetime: TokenStream,
    pub(crate) generics: TokenStream,
    /// What the recursion hands on.
    pub(crate) connection: TokenStream,
    /// What the test gives.
    pub(crate) source: TokenStream,
    pub(crate) source_generics: TokenStream,
    /// From the second to the first, as `__connection`.
    pub(crate) acquire: TokenStream,
    pub(crate) lend: TokenStream,
    /// An expression: the rows `__rows`, of whose generated columns `__set` were given, as the
    /// database has them.
    pub(crate) insert: TokenStream,
}

impl Store {
    pub(crate) fn new(model: &Model, orm: Orm) -> Self {
        let own = &model.library;
        let private = quote!(#own::__private);
        let lifetime = quote!('c);
        match orm {
            Orm::Sqlx(engine) => {
                let database = match engine {
                    Engine::Postgres => quote!(Postgres),
                    Engine::MySql => quote!(MySql),
                    Engine::Sqlite => quote!(Sqlite),
                };
                let database = quote!(#private::sqlx::#database);
                let name = model.name.to_string();
                let columns = sqlx_columns(model, &database);
                Self {
                    is_async: true,
                    connection: quote!(&'c mut <#database as #private::sqlx::Database>::Connection),
                    generics: quote!(<'c>),
                    source: quote!(__D),
                    source_generics: quote!(<'c, __D: #private::sqlx::Acquire<'c, Database = #database> + ::core::marker::Send>),
                    acquire: quote! {
                        let mut __connection = #private::store::acquire(#name, db).await?;
                        let __connection = &mut *__connection;
                    },
                    lend: quote!(&mut *__connection),
                    insert: quote! {
                        #columns
                        #private::store::insert::<#database, Columns>(&mut *__connection, __rows, __set).await?
                    },
                    lifetime,
                }
            }
            Orm::SeaOrm => Self {
                is_async: true,
                connection: quote!(&'c __C),
                generics: quote!(<'c, __C: #private::sea_orm::ConnectionTrait>),
                source: quote!(&__C),
                source_generics: quote!(<__C: #private::sea_orm::ConnectionTrait>),
                acquire: quote!(let __connection = db;),
                lend: quote!(__connection),
                insert: sea_orm_insert(model),
                lifetime,
            },
            Orm::Diesel(engine) => {
                let connection = format_ident!("{}", diesel_connection(engine));
                let connection = quote!(#private::diesel::#connection);
                Self {
                    is_async: false,
                    source: quote!(&mut #connection),
                    connection: quote!(&mut #connection),
                    generics: TokenStream::new(),
                    source_generics: TokenStream::new(),
                    acquire: quote!(let __connection = db;),
                    lend: quote!(&mut *__connection),
                    insert: diesel_insert(
                        model,
                        engine,
                        &quote!(#private::diesel::RunQueryDsl),
                        &TokenStream::new(),
                    ),
                    lifetime,
                }
            }
            Orm::DieselAsync(engine) => {
                let connection = match engine {
                    Engine::Postgres => quote!(#private::diesel_async::AsyncPgConnection),
                    Engine::MySql => quote!(#private::diesel_async::AsyncMysqlConnection),
                    Engine::Sqlite => quote!(
                        #private::diesel_async::sync_connection_wrapper::SyncConnectionWrapper<
                            #private::diesel::SqliteConnection,
                        >
                    ),
                };
                Self {
                    is_async: true,
                    source: quote!(&mut #connection),
                    connection: quote!(&'c mut #connection),
                    generics: quote!(<'c>),
                    source_generics: TokenStream::new(),
                    acquire: quote!(let __connection = db;),
                    lend: quote!(&mut *__connection),
                    insert: diesel_insert(
                        model,
                        engine,
                        &quote!(#private::diesel_async::RunQueryDsl),
                        &quote!(.await),
                    ),
                    lifetime,
                }
            }
        }
    }
}

fn sqlx_columns(model: &Model, database: &TokenStream) -> TokenStream {
    let Model { library, row, table, .. } = model;
    let private = quote!(#library::__private);
    let name = model.name.to_string();
    let mut bits = 0_u32..;
    let columns = model.columns().map(|field| {
        let column = field.column();
        let bit = if field.generated {
            bits.next().map(|bit| quote!(::core::option::Option::Some(#bit)))
        } else {
            Some(quote!(::core::option::Option::None))
        };
        quote!((#column, #bit))
    });
    let bind = model.columns().enumerate().map(|(at, field)| {
        let name = &field.name;
        quote!(#at => #private::sqlx::Arguments::add(arguments, &row.#name),)
    });
    let read = model.columns().enumerate().filter(|(_, field)| field.generated).map(|(at, field)| {
        let name = &field.name;
        quote!(#at => row.#name = #private::sqlx::Row::try_get(from, index)?,)
    });
    let id = model.columns().position(|field| field.generated && field.is_number());
    let id = id.map_or(quote!(::core::option::Option::None), |at| quote!(::core::option::Option::Some(#at)));
    let number = model.id().map(|field| {
        let name = &field.name;
        quote!(if let ::core::result::Result::Ok(number) = ::core::convert::TryFrom::try_from(number) { row.#name = number; })
    });
    quote! {
        struct Columns;
        impl #private::store::Columns<#database> for Columns {
            type Row = #row;
            const FACTORY: &'static str = #name;
            const TABLE: &'static str = #table;
            const COLUMNS: &'static [(&'static str, ::core::option::Option<u32>)] = &[#(#columns),*];
            const ID: ::core::option::Option<usize> = #id;

            fn usual() -> &'static ::std::sync::OnceLock<::std::string::String> {
                static USUAL: ::std::sync::OnceLock<::std::string::String> = ::std::sync::OnceLock::new();
                &USUAL
            }

            fn bind(
                row: &#row,
                column: usize,
                arguments: &mut <#database as #private::sqlx::Database>::Arguments,
            ) -> ::core::result::Result<(), #private::sqlx::error::BoxDynError> {
                match column {
                    #(#bind)*
                    _ => ::core::result::Result::Ok(()),
                }
            }

            fn read(
                row: &mut #row,
                column: usize,
                from: &<#database as #private::sqlx::Database>::Row,
                index: usize,
            ) -> ::core::result::Result<(), #private::sqlx::Error> {
                match column {
                    #(#read)*
                    _ => {}
                }
                ::core::result::Result::Ok(())
            }

            fn number(row: &mut #row, number: u64) {
                #number
            }
        }
    }
}

fn sea_orm_insert(model: &Model) -> TokenStream {
    let private = {
        let library = &model.library;
        quote!(#library::__private)
    };
    let name = model.name.to_string();
    let generated = model.generated().map(|field| field.column());
    let number = model.id().map(|field| {
        let name = &field.name;
        quote!(if let ::core::result::Result::Ok(number) = ::core::convert::TryFrom::try_from(number) { row.#name = number; })
    });
    quote! {
        #private::seaorm::insert(
            __connection,
            #name,
            __rows,
            __set,
            &[#(#generated),*],
            |row, number: u64| { #number },
        )
        .await?
    }
}

fn diesel_connection(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "PgConnection",
        Engine::MySql => "MysqlConnection",
        Engine::Sqlite => "SqliteConnection",
    }
}

fn diesel_insert(model: &Model, engine: Engine, run: &TokenStream, awaits: &TokenStream) -> TokenStream {
    let Model { library, table, .. } = model;
    let private = quote!(#library::__private);
    let diesel = quote!(#private::diesel);
    let column = |field: &crate::model::Field| {
        let column = format_ident!("{}", field.column());
        quote!(#table::#column)
    };
    let plain: Vec<_> = model
        .columns()
        .filter(|field| !field.generated)
        .map(|field| {
            let (column, name) = (column(field), &field.name);
            quote!(#column.eq(::core::clone::Clone::clone(&row.#name)))
        })
        .collect();
    let given: Vec<_> = model
        .generated()
        .enumerate()
        .map(|(bit, field)| {
            let (column, name) = (column(field), &field.name);
            quote!((__set & (1 << #bit) != 0).then(|| #column.eq(::core::clone::Clone::clone(&row.#name))))
        })
        .collect();
    let refused = {
        let name = model.name.to_string();
        let text = quote!(#table).to_string().replace(' ', "");
        let text = text.rsplit("::").next().unwrap_or_default().to_owned();
        let columns = model.columns().map(|field| field.column());
        quote!(.map_err(|error| #private::diesel_orm::refused(#name, #text, &[#(#columns),*], error))?)
    };
    let columns: Vec<_> = model.generated().map(column).collect();
    let names: Vec<_> = model.generated().map(|field| &field.name).collect();
    let traits = quote!(use #diesel::{ExpressionMethods as _, QueryDsl as _}; use #run as _;);
    // Of one row the text is the same each time, and is prepared once; of a list Diesel can't know that.
    let one = quote!((#(#plain,)*));
    let many = quote!(__rows.iter().map(|row| #one).collect::<::std::vec::Vec<_>>());
    let insert = quote!(#diesel::insert_into(#table::table));
    // diesel-async can't send several rows to SQLite in one statement; the connection inside can.
    let insert_many = if engine == Engine::Sqlite && !awaits.is_empty() {
        quote! {
            let values = #many;
            __connection
                .spawn_blocking(move |connection| #diesel::RunQueryDsl::execute(#insert.values(values), connection))
                .await #refused;
        }
    } else {
        quote!(#insert.values(#many).execute(&mut *__connection) #awaits #refused;)
    };
    let insert_all = quote! {
        if let [row] = &__rows[..] {
            #insert.values(#one).execute(&mut *__connection) #awaits #refused;
        } else {
            #insert_many
        }
    };
    if columns.is_empty() {
        return quote! { #traits #insert_all __rows };
    }
    let read = quote! {
        for (row, (#(#names,)*)) in __rows.iter_mut().zip(__read) {
            #(row.#names = #names;)*
        }
    };
    if engine == Engine::Postgres {
        let returning = quote!(.returning((#(#columns,)*)).get_results(&mut *__connection) #awaits #refused);
        return quote! {
            #traits
            let mut __rows = __rows;
            let __read = if __set != 0 {
                let values = __rows.iter().map(|row| (#(#plain,)* #(#given,)*)).collect::<::std::vec::Vec<_>>();
                #insert.values(values) #returning
            } else if let [row] = &__rows[..] {
                #insert.values(#one) #returning
            } else {
                #insert.values(#many) #returning
            };
            #read
            __rows
        };
    }
    let Some(id) = model.id() else {
        let why = "on this engine what the database generates is found by a number that it counts up: \
                   add such a field `id`, or give this one a default";
        let first = model.generated().next().map_or(model.name.span(), |field| field.name.span());
        return syn::Error::new(first, why).to_compile_error();
    };
    let (id_name, id_column) = (&id.name, column(id));
    let id_bit = names.iter().position(|name| *name == id_name);
    let number = |what: TokenStream| quote!(#diesel::select(#what).get_result::<i64>(&mut *__connection) #awaits #refused);
    let (last, first, step) = if engine == Engine::MySql {
        let step = quote!(#diesel::dsl::sql::<#diesel::sql_types::BigInt>("@@auto_increment_increment"));
        let step = number(step);
        let last = number(quote!(#private::diesel_orm::last_insert_id()));
        (last, quote!(last), quote!(if __rows.len() > 1 { #step } else { 1 }))
    } else {
        let last = number(quote!(#private::diesel_orm::last_insert_rowid()));
        (last, quote!(last - __rows.len() as i64 + 1), quote!(1_i64))
    };
    let others = (columns.len() > 1).then(|| {
        quote! {
            if let (::core::option::Option::Some(first), ::core::option::Option::Some(last)) = (<[_]>::first(__rows), <[_]>::last(__rows)) {
                let __read = #table::table
                    .filter(#id_column.between(first.#id_name, last.#id_name))
                    .order(#id_column)
                    .select((#(#columns,)*))
                    .load(&mut *__connection) #awaits #refused;
                #read
            }
        }
    });
    quote! {
        #traits
        let mut __all = __rows;
        // What a row was given for a column of the database's own, another may not have: such
        // rows go one by one, since a DEFAULT among values is not to be had on every engine.
        let __at_once = if __set == 0 { ::core::cmp::max(__all.len(), 1) } else { 1 };
        for __rows in __all.chunks_mut(__at_once) {
            if __set == 0 {
                #insert_all
            } else {
                let values = __rows.iter().map(|row| (#(#plain,)* #(#given,)*)).next();
                if let ::core::option::Option::Some(values) = values {
                    #insert.values(values).execute(&mut *__connection) #awaits #refused;
                }
            }
            if __set & (1 << #id_bit) == 0 {
                let step = #step;
                let last = #last;
                let first = #first;
                for (at, row) in (0_i64..).zip(__rows.iter_mut()) {
                    if let ::core::result::Result::Ok(id) = ::core::convert::TryFrom::try_from(first + at * step) {
                        row.#id_name = id;
                    }
                }
            }
            #others
        }
        __all
    }
}
