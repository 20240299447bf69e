//! What the attribute emits: the user's function inside a test that makes one call.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, LitStr, Meta, PatType, Path, Result, ReturnType, Signature, Type,
    Visibility,
};

use crate::args::{DatabaseArgs, Given, Migrations, Runtime, Strategy, TestArgs};

/// The tuples of databases that the runner takes.
const MOST_DATABASES: usize = 4;

/// Expands the attribute; `adapter` is the crate whose name the user wrote.
pub(crate) fn test(adapter: &Path, args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        // The function's own error is rustc's to tell, and it tells it better.
        Err(error) => return with_error(&error, item),
    };
    expand(adapter, args, &function).unwrap_or_else(|error| with_error(&error, function.bare()))
}

/// The function goes along, so that one error is not followed by ten about unused imports.
fn with_error(error: &Error, function: TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #function)
}

fn expand(adapter: &Path, args: TokenStream, function: &Function) -> Result<TokenStream> {
    let args: TestArgs = syn::parse2(args)?;
    let adapter = args.adapter.as_ref().map_or(adapter, |given| &given.value);
    function.check(adapter)?;
    let databases = function.databases()?;

    let Function { attrs, vis, .. } = function;
    let Signature { ident: name, asyncness, output, .. } = &function.sig;
    let inner = function.inner();
    let test = runner_test(adapter, name, asyncness.is_some(), args.runtime)?;
    let fixtures: Vec<_> =
        databases.iter().map(|database| database.fixture(adapter, &args.database)).collect();
    let patterns = databases.iter().map(Database::pattern);
    let types = databases.iter().map(|database| &database.ty);
    let values = databases.iter().map(Database::value);
    let wait = asyncness.map(|_| quote!(.await));

    let is_unit = match output {
        ReturnType::Default => true,
        ReturnType::Type(_, ty) => matches!(&**ty, Type::Tuple(tuple) if tuple.elems.is_empty()),
    };
    let (run, exit) = match (asyncness.is_some(), is_unit) {
        (true, true) => ("run_unit", None),
        (true, false) => ("run", Some(quote!(-> ::std::process::ExitCode))),
        (false, true) => ("run_blocking_unit", None),
        (false, false) => ("run_blocking", Some(quote!(-> ::std::process::ExitCode))),
    };
    let run = Ident::new(run, Span::call_site());

    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #exit {
            #inner
            #adapter::runner::#run(
                #test,
                (#(#fixtures,)*),
                #asyncness |(#(#patterns,)*): (#(#types,)*)| #name(#(#values),*) #wait,
            )
        }
    })
}

/// The name and the runtime of the test.
fn runner_test(
    adapter: &Path,
    name: &Ident,
    is_async: bool,
    runtime: Option<Given<Runtime>>,
) -> Result<TokenStream> {
    let text = name.to_string();
    let runtime = match runtime {
        Some(Given { word, .. }) if !is_async => {
            return Err(Error::new(
                word.span(),
                format!("`{word}` is about a test's runtime, and only an `async fn` has one"),
            ));
        }
        None | Some(Given { value: Runtime::OneThread { paused: false }, .. }) => None,
        Some(Given { value: Runtime::OneThread { paused: true }, .. }) => Some(quote!(.start_paused())),
        Some(Given { value: Runtime::Threads(None), .. }) => {
            Some(quote!(.multi_thread(::core::option::Option::None)))
        }
        Some(Given { value: Runtime::Threads(Some(threads)), .. }) => {
            Some(quote!(.multi_thread(::core::option::Option::Some(#threads))))
        }
    };
    Ok(quote! {
        #adapter::runner::Test::new(::core::concat!(::core::module_path!(), "::", #text))
            .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
            .package(::core::env!("CARGO_PKG_NAME"))
            #runtime
    })
}

/// A function whose body stays unread: its syntax errors are rustc's to tell.
struct Function {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let function = Self { attrs, vis: input.parse()?, sig: input.parse()?, body: input.parse()? };
        match function.body.delimiter() {
            Delimiter::Brace => Ok(function),
            _ => Err(Error::new(function.body.span(), "expected the body of the test")),
        }
    }
}

impl Function {
    /// The user's function as they wrote it, without what is ours or the test's.
    fn inner(&self) -> TokenStream {
        let mut sig = self.sig.clone();
        for input in &mut sig.inputs {
            if let FnArg::Typed(argument) = input {
                argument.attrs.retain(|attr| !attr.path().is_ident("db"));
            }
        }
        let body = &self.body;
        quote!(#sig #body)
    }

    /// The function next to an error: no test, and not in the way.
    fn bare(&self) -> TokenStream {
        let inner = self.inner();
        quote!(#[allow(dead_code)] #inner)
    }

    fn check(&self, adapter: &Path) -> Result<()> {
        let Signature { constness, unsafety, abi, generics, inputs, variadic, .. } = &self.sig;
        let error = |at: Span, message: &str| Err(Error::new(at, message));
        if let Some(attr) = self.attrs.iter().find(|attr| is_test(attr)) {
            let (ours, theirs) = (shown(adapter), shown(attr.path()));
            let message = format!("`#[{ours}::test]` makes this a test already: remove `#[{theirs}]`");
            return error(attr.span(), &message);
        }
        if let Some(token) = constness {
            return error(token.span, "a test can't be `const`");
        }
        if let Some(token) = unsafety {
            return error(token.span, "a test can't be `unsafe`: put an `unsafe` block inside");
        }
        if let Some(abi) = abi {
            return error(abi.extern_token.span, "a test can't be `extern`");
        }
        if let Some(token) = variadic {
            return error(token.span(), "a test can't be variadic");
        }
        if let Some(parameter) = generics.params.first() {
            return error(parameter.span(), "a test can't be generic: name the type of each database");
        }
        if let Some(clause) = &generics.where_clause {
            return error(clause.where_token.span, "a test can't be generic: name the type of each database");
        }
        if inputs.is_empty() {
            return error(
                self.sig.ident.span(),
                "this test takes no database: add an argument such as `pool: PgPool`",
            );
        }
        match inputs.iter().nth(MOST_DATABASES) {
            Some(input) => error(input.span(), &format!("a test takes at most {MOST_DATABASES} databases")),
            None => Ok(()),
        }
    }

    fn databases(&self) -> Result<Vec<Database>> {
        let arguments = self.sig.inputs.iter().enumerate();
        arguments.map(|(index, argument)| Database::new(index, argument)).collect()
    }
}

fn is_test(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

fn shown(path: &Path) -> String {
    let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    names.join("::")
}

/// One argument of the test.
struct Database {
    name: Ident,
    /// Without its reference.
    ty: Type,
    /// `&` or `&mut`, where the function wants one.
    reference: Option<TokenStream>,
    is_mutable: bool,
    args: DatabaseArgs,
}

impl Database {
    fn new(index: usize, argument: &FnArg) -> Result<Self> {
        let PatType { attrs, ty, .. } = match argument {
            FnArg::Typed(argument) => argument,
            FnArg::Receiver(receiver) => {
                return Err(Error::new(receiver.self_token.span, "a test can't be a method"));
            }
        };
        let ty = ungroup(ty);
        let (ty, reference, is_mutable) = match ty {
            Type::Reference(outer) => {
                let (and, mutability) = (outer.and_token, outer.mutability);
                (ungroup(&outer.elem), Some(quote!(#and #mutability)), mutability.is_some())
            }
            Type::ImplTrait(generic) => {
                let message = "a test can't be generic: name the type of each database";
                return Err(Error::new(generic.impl_token.span, message));
            }
            ty => (ty, None, false),
        };
        Ok(Self {
            name: format_ident!("database_{index}", span = Span::mixed_site()),
            ty: ty.clone(),
            reference,
            is_mutable,
            args: own_args(attrs)?,
        })
    }

    fn pattern(&self) -> TokenStream {
        let Self { name, .. } = self;
        if self.is_mutable { quote!(mut #name) } else { quote!(#name) }
    }

    fn value(&self) -> TokenStream {
        let Self { name, reference, .. } = self;
        quote!(#reference #name)
    }

    /// The builder that says what the test wants of this database.
    fn fixture(&self, adapter: &Path, test: &DatabaseArgs) -> TokenStream {
        let args = self.args.clone().or(test);
        let ty = &self.ty;
        let base = match &args.fixture {
            Some(Given { value, .. }) => quote_spanned!(value.span()=> #value()),
            None => quote_spanned! {ty.span()=>
                #adapter::Fixture::<<#ty as #adapter::FromTestDb>::Backend>::new()
            },
        };
        let migrations = match args.migrations.map(|given| given.value) {
            Some(Migrations::Folder(folder)) => Some(quote!(.migrations_dir(#folder))),
            Some(Migrations::Value(value)) => {
                let value = quote_spanned!(value.span()=> &#value);
                Some(quote!(.migrations(#value)))
            }
            Some(Migrations::Nothing) => Some(quote!(.empty())),
            None if args.fixture.is_some() => None,
            None => Some(quote!(.migrations_dir_if_any("migrations"))),
        };
        let seeds = args.seeds.iter().flatten().map(seed);
        let strategy = args.strategy.map(|Given { word, value }| match value {
            Strategy::Named(variant) => quote!(.#word(#adapter::Strategy::#variant)),
            Strategy::Value(value) => quote!(.#word(#value)),
        });
        let connections = args.max_connections.map(|Given { value, .. }| quote!(.max_connections(#value)));
        quote! {
            #base
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                #migrations #(#seeds)* #strategy #connections
        }
    }
}

fn seed(file: &LitStr) -> TokenStream {
    let text = quote_spanned!(file.span()=> ::core::include_str!(#file));
    quote!(.seed_sql(#file, #text))
}

/// What stands in the `#[db(…)]` of an argument.
fn own_args(attrs: &[Attribute]) -> Result<DatabaseArgs> {
    let mut own = attrs.iter().filter(|attr| attr.path().is_ident("db"));
    let args = match own.next() {
        None => DatabaseArgs::default(),
        Some(attr) if matches!(attr.meta, Meta::Path(_)) => DatabaseArgs::default(),
        Some(attr) => attr.parse_args()?,
    };
    match own.next() {
        Some(second) => Err(Error::new(second.span(), "an argument has one `#[db(…)]`: write both in one")),
        None => Ok(args),
    }
}

/// What a fragment of `macro_rules!` hides is what the user wrote.
fn ungroup(mut ty: &Type) -> &Type {
    while let Type::Group(group) = ty {
        ty = &group.elem;
    }
    ty
}
