//! What the user wrote, read and checked: the struct, its fields, its relations, its variants.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Ident, Path, Result, Token, Type, Visibility};

pub(crate) struct Model {
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
    /// The struct that is made: the user's own, or another that it describes.
    pub(crate) row: TokenStream,
    pub(crate) library: TokenStream,
    pub(crate) orm: Option<Orm>,
    pub(crate) table: Option<Expr>,
    pub(crate) fields: Vec<Field>,
    pub(crate) variants: Vec<Variant>,
    pub(crate) children: Vec<Children>,
    pub(crate) links: Vec<Links>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    MySql,
    Sqlite,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "it is called so")]
pub(crate) enum Orm {
    Sqlx(Engine),
    SeaOrm,
    Diesel(Engine),
    DieselAsync(Engine),
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) column: Option<String>,
    pub(crate) value: Value,
    /// The database gives it, unless the test does.
    pub(crate) generated: bool,
    pub(crate) required: bool,
    /// No column.
    pub(crate) skip: bool,
    pub(crate) parent: Option<Parent>,
}

pub(crate) enum Value {
    /// What its type has for a default.
    Sample,
    Default(Expr),
    Sequence(Expr),
    Fake(Expr),
}

pub(crate) struct Parent {
    pub(crate) name: Ident,
    pub(crate) model: Path,
    pub(crate) key: Ident,
    /// `NULL` is what it is without one.
    pub(crate) optional: bool,
}

pub(crate) struct Variant {
    pub(crate) name: Ident,
    pub(crate) values: Vec<(Ident, Expr)>,
}

/// `has_many(books = Book, by = author_id)`
pub(crate) struct Children {
    pub(crate) name: Ident,
    pub(crate) model: Path,
    pub(crate) by: Ident,
    pub(crate) key: Ident,
}

/// `many_to_many(tags = Tag, through = BookTag, by = (book_id, tag_id))`
pub(crate) struct Links {
    pub(crate) name: Ident,
    pub(crate) model: Path,
    pub(crate) through: Path,
    pub(crate) own: Ident,
    pub(crate) other: Ident,
    pub(crate) key: Ident,
    pub(crate) other_key: Ident,
}

/// `word`, `word = expression` or `word(…)`.
struct Word {
    name: Ident,
    argument: Argument,
}

enum Argument {
    None,
    Value(Expr),
    List(TokenStream),
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let argument = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Argument::Value(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let inner;
            syn::parenthesized!(inner in input);
            Argument::List(inner.parse()?)
        } else {
            Argument::None
        };
        Ok(Self { name, argument })
    }
}

impl Word {
    fn value(self, example: &str) -> Result<Expr> {
        match self.argument {
            Argument::Value(value) => Ok(value),
            _ => Err(Error::new(self.name.span(), format!("write `{} = {example}`", self.name))),
        }
    }

    fn path(self, example: &str) -> Result<Path> {
        let name = self.name.clone();
        path(self.value(example)?, &format!("write `{name} = {example}`"))
    }

    fn ident(self, example: &str) -> Result<Ident> {
        let name = self.name.clone();
        ident(&self.value(example)?, &format!("write `{name} = {example}`"))
    }
}

fn path(value: Expr, why: &str) -> Result<Path> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        other => Err(Error::new(other.span(), why)),
    }
}

fn ident(value: &Expr, why: &str) -> Result<Ident> {
    match value {
        Expr::Path(path) => path.path.get_ident().cloned(),
        _ => None,
    }
    .ok_or_else(|| Error::new(value.span(), why))
}

fn words(attributes: &[Attribute]) -> Result<Vec<Word>> {
    let mut found = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("factory")) {
        found.extend(attribute.parse_args_with(Punctuated::<Word, Token![,]>::parse_terminated)?);
    }
    Ok(found)
}

fn list(tokens: TokenStream) -> Result<Vec<Word>> {
    use syn::parse::Parser;
    Ok(Punctuated::<Word, Token![,]>::parse_terminated.parse2(tokens)?.into_iter().collect())
}

impl Model {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.ident.span(), "a factory makes rows: derive it for a struct"));
        };
        let Fields::Named(fields) = &data.fields else {
            return Err(Error::new(
                input.ident.span(),
                "a factory's struct has a named field for each column",
            ));
        };
        if !input.generics.params.is_empty() {
            return Err(Error::new(input.generics.span(), "a factory's struct can't be generic"));
        }
        let name = input.ident.clone();
        let fields =
            fields.named.iter().map(|field| Field::read(field, &name)).collect::<Result<Vec<_>>>()?;
        let mut model = Self {
            visibility: input.vis.clone(),
            row: quote!(#name),
            name,
            library: quote!(::dbtest_factory),
            orm: None,
            table: None,
            fields,
            variants: Vec::new(),
            children: Vec::new(),
            links: Vec::new(),
        };
        for word in words(&input.attrs)? {
            model.word(word)?;
        }
        model.check()?;
        Ok(model)
    }

    fn word(&mut self, word: Word) -> Result<()> {
        match word.name.to_string().as_str() {
            "table" => self.table = Some(word.value("\"books\"")?),
            "row" => {
                let path = word.path("path::to::Model")?;
                self.row = quote!(#path);
            }
            "crate" => {
                let path = word.path("path::to::dbtest_factory")?;
                self.library = quote!(#path);
            }
            "sqlx" | "seaorm" | "diesel" | "diesel_async" => {
                if self.orm.is_some() {
                    let why = "a factory writes through one ORM; derive it for a second struct with \
                               `#[factory(row = …)]` for another";
                    return Err(Error::new(word.name.span(), why));
                }
                self.orm = Some(orm(word)?);
            }
            "variant" => self.variants.push(variant(word)?),
            "has_many" => self.children.push(children(word)?),
            "many_to_many" => self.links.push(links(word)?),
            other => {
                let why = format!(
                    "`{other}` is no word of a factory; write one of: table, sqlx, seaorm, diesel, diesel_async, \
                     row, variant, has_many, many_to_many, crate"
                );
                return Err(Error::new(word.name.span(), why));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let sql = matches!(self.orm, Some(Orm::Sqlx(_)));
        let diesel = matches!(self.orm, Some(Orm::Diesel(_) | Orm::DieselAsync(_)));
        match &self.table {
            None if sql => {
                let why =
                    format!("the table of `{}` is missing: write `#[factory(table = \"…\")]`", self.name);
                return Err(Error::new(self.name.span(), why));
            }
            None if diesel => {
                let why =
                    format!("the table of `{}` is missing: write `#[factory(table = schema::…)]`", self.name);
                return Err(Error::new(self.name.span(), why));
            }
            Some(Expr::Lit(_)) if diesel => {
                return Err(Error::new(self.table.span(), "name Diesel's module: `table = schema::books`"));
            }
            Some(table) if sql && !matches!(table, Expr::Lit(_)) => {
                return Err(Error::new(table.span(), "the table's name is a string: `table = \"books\"`"));
            }
            _ => {}
        }
        for variant in &self.variants {
            for (name, _) in &variant.values {
                let field = self.fields.iter().any(|field| field.name == *name);
                if !field && !self.relations().any(|relation| relation == name) {
                    let known: Vec<_> = self.fields.iter().map(|field| field.name.to_string()).collect();
                    let why = format!(
                        "`{}` has no field or relation `{name}` that the variant `{}` could set; its fields are: {}",
                        self.name,
                        variant.name,
                        known.join(", ")
                    );
                    return Err(Error::new(name.span(), why));
                }
            }
        }
        let mut methods: Vec<&Ident> = self.fields.iter().map(|field| &field.name).collect();
        for name in self.relations().chain(self.variants.iter().map(|variant| &variant.name)) {
            if methods.contains(&name) {
                let why = format!("there are two methods `{name}` of this factory; give one another name");
                return Err(Error::new(name.span(), why));
            }
            methods.push(name);
        }
        for name in methods {
            if ["build", "create", "create_many", "lint", "shared"].iter().any(|taken| name == taken) {
                let why = format!(
                    "a factory has a method `{name}` of its own; rename the field in a struct \
                                   with `#[factory(row = …)]`, or the variant or relation"
                );
                return Err(Error::new(name.span(), why));
            }
        }
        Ok(())
    }

    /// The names of the methods that set a relation.
    fn relations(&self) -> impl Iterator<Item = &Ident> {
        let parents = self.fields.iter().filter_map(|field| field.parent.as_ref().map(|parent| &parent.name));
        let children = self.children.iter().map(|children| &children.name);
        parents.chain(children).chain(self.links.iter().map(|links| &links.name))
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| !field.skip)
    }

    pub(crate) fn generated(&self) -> impl Iterator<Item = &Field> {
        self.columns().filter(|field| field.generated)
    }

    /// The column whose numbers the database counts up.
    pub(crate) fn id(&self) -> Option<&Field> {
        self.generated().find(|field| field.is_number())
    }
}

impl Field {
    fn read(field: &syn::Field, model: &Ident) -> Result<Self> {
        let Some(name) = field.ident.clone() else { unreachable!("named fields were asked for") };
        let mut read = Self {
            ty: field.ty.clone(),
            column: renamed(&field.attrs),
            value: Value::Sample,
            generated: false,
            required: false,
            skip: false,
            parent: None,
            name,
        };
        let (mut belongs_to, mut key, mut relation, mut valued) = (None, None, None, None);
        for word in words(&field.attrs)? {
            let span = word.name.span();
            let text = word.name.to_string();
            if ["default", "sequence", "fake", "required", "generated", "belongs_to"].contains(&text.as_str())
                && let Some(first) = valued.replace(text.clone())
            {
                let why = format!("`{}` gets its value from `{first}` already; write one of them", read.name);
                return Err(Error::new(span, why));
            }
            match text.as_str() {
                "default" => read.value = Value::Default(word.value("expression")?),
                "sequence" => read.value = Value::Sequence(word.value("\"user{n}@example.com\"")?),
                "fake" => read.value = Value::Fake(word.value("Name()")?),
                "required" => read.required = true,
                "generated" => read.generated = true,
                "skip" => read.skip = true,
                "column" => {
                    let value = word.value("\"name\"")?;
                    let Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(column), .. }) = value else {
                        return Err(Error::new(span, "write `column = \"name\"`"));
                    };
                    read.column = Some(column.value());
                }
                "belongs_to" => belongs_to = Some(word.path("Author")?),
                "key" => key = Some(word.ident("id")?),
                "name" => relation = Some(word.ident("author")?),
                other => {
                    let why = format!(
                        "`{other}` is no word of a factory's field; write one of: default, sequence, fake, \
                         belongs_to (with key and name), required, generated, column, skip"
                    );
                    return Err(Error::new(span, why));
                }
            }
        }
        if read.name == "id" && valued.is_none() && read.is_number() {
            read.generated = true;
        }
        match belongs_to {
            Some(parent) => {
                read.parent = Some(read.parent(parent, key, relation, model)?);
            }
            None => {
                if let Some(extra) = key.or(relation) {
                    let why = "this needs `belongs_to = …` beside it: the struct of the parent";
                    return Err(Error::new(extra.span(), why));
                }
            }
        }
        Ok(read)
    }

    fn parent(&self, parent: Path, key: Option<Ident>, name: Option<Ident>, model: &Ident) -> Result<Parent> {
        let optional = option_of(&self.ty).is_some();
        let own = parent.is_ident(model) || parent.is_ident("Self");
        if own && !optional {
            let why = format!(
                "a `{model}` would need another `{model}` first, without end: make the field an `Option`"
            );
            return Err(Error::new(parent.span(), why));
        }
        let text = self.name.unraw().to_string();
        let name = match (name, text.strip_suffix("_id")) {
            (Some(name), _) => name,
            (None, Some(stem)) if !stem.is_empty() => Ident::new(stem, self.name.span()),
            _ => {
                let why = format!(
                    "what is the parent called? `{text}` does not end in `_id`, so write `name = …` beside \
                     `belongs_to`"
                );
                return Err(Error::new(self.name.span(), why));
            }
        };
        let key = key.unwrap_or_else(|| Ident::new("id", parent.span()));
        Ok(Parent { name, model: parent, key, optional })
    }

    pub(crate) fn is_number(&self) -> bool {
        let Type::Path(path) = &self.ty else { return false };
        let number = ["i16", "i32", "i64", "u16", "u32", "u64"];
        path.path.get_ident().is_some_and(|ident| number.iter().any(|number| ident == number))
    }

    /// The name of the column.
    pub(crate) fn column(&self) -> String {
        self.column.clone().unwrap_or_else(|| self.name.unraw().to_string())
    }
}

/// `#[sqlx(rename = "…")]`, which says it for this derive too.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("sqlx")) {
        // What is wrong in it is sqlx's to say.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                found = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            }
            Ok(())
        });
    }
    found
}

/// The `T` of an `Option<T>`.
pub(crate) fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) if last.ident == "Option" => Some(inner),
        _ => None,
    }
}

fn orm(word: Word) -> Result<Orm> {
    let name = word.name;
    if name == "seaorm" {
        return match word.argument {
            Argument::None => Ok(Orm::SeaOrm),
            _ => Err(Error::new(name.span(), "write `seaorm` alone: its connection knows the engine")),
        };
    }
    let why = format!("say the engine: `{name}(postgres)`, `{name}(mysql)` or `{name}(sqlite)`");
    let Argument::List(tokens) = word.argument else { return Err(Error::new(name.span(), why)) };
    let engine: Ident = syn::parse2(tokens).map_err(|_| Error::new(name.span(), &why))?;
    let engine = match engine.to_string().as_str() {
        "postgres" => Engine::Postgres,
        "mysql" | "mariadb" => Engine::MySql,
        "sqlite" => Engine::Sqlite,
        _ => return Err(Error::new(engine.span(), why)),
    };
    Ok(match name.to_string().as_str() {
        "sqlx" => Orm::Sqlx(engine),
        "diesel" => Orm::Diesel(engine),
        _ => Orm::DieselAsync(engine),
    })
}

fn variant(word: Word) -> Result<Variant> {
    let why = "write `variant(admin, role = \"admin\")`: its name, then what it sets";
    let span = word.name.span();
    let Argument::List(tokens) = word.argument else { return Err(Error::new(span, why)) };
    let mut words = list(tokens)?.into_iter();
    let Some(Word { name, argument: Argument::None }) = words.next() else {
        return Err(Error::new(span, why));
    };
    let values =
        words.map(|word| Ok((word.name.clone(), word.value("value")?))).collect::<Result<Vec<_>>>()?;
    if values.is_empty() {
        return Err(Error::new(name.span(), why));
    }
    Ok(Variant { name, values })
}

fn children(word: Word) -> Result<Children> {
    let why =
        "write `has_many(books = Book, by = author_id)`: what they are, and the field that refers to this";
    let span = word.name.span();
    let Argument::List(tokens) = word.argument else { return Err(Error::new(span, why)) };
    let (mut relation, mut by, mut key) = (None, None, None);
    for word in list(tokens)? {
        match word.name.to_string().as_str() {
            "by" => by = Some(word.ident("author_id")?),
            "key" => key = Some(word.ident("id")?),
            _ if relation.is_none() => relation = Some((word.name.clone(), word.path("Book")?)),
            _ => return Err(Error::new(word.name.span(), why)),
        }
    }
    let (Some((name, model)), Some(by)) = (relation, by) else { return Err(Error::new(span, why)) };
    let key = key.unwrap_or_else(|| Ident::new("id", span));
    Ok(Children { name, model, by, key })
}

fn links(word: Word) -> Result<Links> {
    let why = "write `many_to_many(tags = Tag, through = BookTag, by = (book_id, tag_id))`: the struct of the \
               table between them, and its fields that refer to this and to the other";
    let span: Span = word.name.span();
    let Argument::List(tokens) = word.argument else { return Err(Error::new(span, why)) };
    let (mut relation, mut through, mut by, mut keys) = (None, None, None, None);
    let pair = |word: Word| -> Result<(Ident, Ident)> {
        let value = word.value("(book_id, tag_id)")?;
        match &value {
            Expr::Tuple(tuple) if tuple.elems.len() == 2 => {
                Ok((ident(&tuple.elems[0], why)?, ident(&tuple.elems[1], why)?))
            }
            other => Err(Error::new(other.span(), why)),
        }
    };
    for word in list(tokens)? {
        match word.name.to_string().as_str() {
            "through" => through = Some(word.path("BookTag")?),
            "by" => by = Some(pair(word)?),
            "keys" => keys = Some(pair(word)?),
            _ if relation.is_none() => relation = Some((word.name.clone(), word.path("Tag")?)),
            _ => return Err(Error::new(word.name.span(), why)),
        }
    }
    let (Some((name, model)), Some(through), Some((own, other))) = (relation, through, by) else {
        return Err(Error::new(span, why));
    };
    let id = || Ident::new("id", span);
    let (key, other_key) = keys.unwrap_or_else(|| (id(), id()));
    Ok(Links { name, model, through, own, other, key, other_key })
}
