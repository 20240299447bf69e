//! What the attribute emits: the user's function inside a test that makes one call.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, Meta, PatType, Path, Result, ReturnType, Signature, Type, Visibility,
};

use crate::args::{DatabaseArgs, Given, Migrations, Runtime, Strategy, TestArgs};

/// The tuples of databases that the runner takes.
const MOST_DATABASES: usize = 4;

/// The crate whose attribute the user wrote.
pub(crate) struct Adapter {
    pub(crate) path: Path,
    /// Its connections are of one type on every engine, and its migrators of any type: rustc
    /// infers the backend from the argument or the fixture, and a migrator is wrapped.
    pub(crate) one_handle: bool,
}

/// Expands the attribute.
pub(crate) fn test(adapter: &Adapter, args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => return with_error(&error, item),
    };
    expand(adapter, args, &function).unwrap_or_else(|error| with_error(&error, function.bare()))
}

/// What the user wrote goes along, so that one error is not followed by ten about unused imports.
fn with_error(error: &Error, item: TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

fn expand(adapter: &Adapter, args: TokenStream, function: &Function) -> Result<TokenStream> {
    let args: TestArgs = syn::parse2(args)?;
    let one_handle = adapter.one_handle;
    let adapter = args.adapter.as_ref().map_or(&adapter.path, |given| &given.value);
    function.check(adapter)?;
    let databases = function.databases()?;

    let Function { attrs, vis, .. } = function;
    let Signature { ident: name, asyncness, output, .. } = &function.sig;
    let inner = function.inner();
    let mut test = runner_test(adapter, name, asyncness.is_some(), args.runtime)?;
    if attrs.iter().any(|attr| attr.path().is_ident("should_panic")) {
        test.extend(quote!(.should_panic()));
    }
    let fixtures: Vec<_> =
        databases.iter().map(|database| database.fixture(adapter, one_handle, &args.database)).collect();
    let patterns = databases.iter().map(Database::pattern);
    let types = databases.iter().map(|database| &database.ty);
    let values = databases.iter().map(Database::value);
    let (closure, wait) = asyncness.map(|_| (quote!(async), quote!(.await))).unzip();

    let returned = match output {
        ReturnType::Type(_, ty) if !is_unit(ty) => Some(ty),
        _ => None,
    };
    let method = match (asyncness, returned) {
        (Some(_), None) => "run_unit",
        (Some(_), Some(_)) => "run",
        (None, None) => "run_blocking_unit",
        (None, Some(_)) => "run_blocking",
    };
    let exit = returned.map(|_| quote!(-> ::std::process::ExitCode));

    // An error about the call is shown at the type of what is returned or, where nothing is, at
    // the databases. To lints it stays generated code.
    let shown = returned.map(|ty| &**ty).or(databases.first().map(|first| &first.ty));
    let here = Span::call_site().located_at(shown.map_or_else(Span::call_site, Spanned::span));
    let (path, method) = (respan(adapter, here), Ident::new(method, here));
    let body = quote!(#closure |(#(#patterns,)*): (#(#types,)*)| #name(#(#values),*) #wait);
    // From the databases to the arguments, whose types the adapter knows and core does not.
    let given: Vec<_> = (0..databases.len()).map(|at| format_ident!("database_{at}")).collect();
    let made = databases.iter().zip(&given).map(|(database, given)| {
        let (ty, path) = (&database.ty, respan(adapter, database.ty.span()));
        let backend = one_handle.then(|| quote!(<_>));
        quote_spanned!(ty.span()=> <#ty as #path::FromTestDb #backend>::from_test_db(#given).await?)
    });
    let arguments = quote!(async |(#(#given,)*)| ::core::result::Result::Ok((#(#made,)*)));
    let call = quote_spanned!(here=> #path::runner::#method(#test, (#(#fixtures,)*), #arguments, #body));

    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #exit {
            #inner
            #call
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
        #adapter::runner::Test::at(::core::concat!(::core::module_path!(), "::", #text))
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
        quote!(#[allow(unused)] #inner)
    }

    fn check(&self, adapter: &Path) -> Result<()> {
        let Signature { constness, unsafety, abi, generics, inputs, variadic, .. } = &self.sig;
        let error = |at: &dyn ToTokens, message: &str| Err(Error::new_spanned(at, message));
        if let Some(attr) = self.attrs.iter().find(|attr| is_test(attr)) {
            let (ours, theirs) = (shown(adapter), shown(attr.path()));
            let message = format!("`#[{ours}::test]` makes this a test already: remove `#[{theirs}]`");
            return error(attr, &message);
        }
        if let Some(attr) = self.attrs.iter().find(|attr| is(attr, "rstest")) {
            let message = format!(
                "`#[rstest]` makes a test of each case, so it comes first: write it above `#[{}::test]`, and \
                 `#[ignore]` before each database",
                shown(adapter)
            );
            return error(attr, &message);
        }
        if let Some(token) = constness {
            return error(token, "a test can't be `const`");
        }
        if let Some(token) = unsafety {
            return error(token, "a test can't be `unsafe`: put an `unsafe` block inside");
        }
        if let Some(abi) = abi {
            return error(abi, "a test can't be `extern`");
        }
        if let Some(token) = variadic {
            return error(token, "a test can't be variadic");
        }
        if let Some(parameter) = generics.params.first() {
            return error(parameter, "a test can't be generic: name the type of each database");
        }
        if let Some(clause) = &generics.where_clause {
            return error(clause, "a test can't be generic: name the type of each database");
        }
        if inputs.is_empty() {
            return error(
                &self.sig.ident,
                "this test takes no database: add an argument such as `pool: PgPool`",
            );
        }
        match inputs.iter().nth(MOST_DATABASES) {
            Some(input) => error(input, &format!("a test takes at most {MOST_DATABASES} databases")),
            None => Ok(()),
        }
    }

    fn databases(&self) -> Result<Vec<Database>> {
        let arguments = self.sig.inputs.iter().enumerate();
        arguments.map(|(index, argument)| Database::new(index, argument)).collect()
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

fn is_test(attr: &Attribute) -> bool {
    is(attr, "test")
}

fn is(attr: &Attribute, name: &str) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == name)
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
                return Err(Error::new_spanned(receiver, "a test can't be a method"));
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
                return Err(Error::new_spanned(generic, message));
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
    fn fixture(&self, adapter: &Path, one_handle: bool, test: &DatabaseArgs) -> TokenStream {
        let args = self.args.clone().or(test);
        let ty = &self.ty;
        let here = respan(adapter, ty.span());
        let fixture = if one_handle {
            quote_spanned!(ty.span()=> #here::Fixture::<_>)
        } else {
            quote_spanned!(ty.span()=> #here::Fixture::<<#ty as #here::FromTestDb>::Backend>)
        };
        let base = match &args.fixture {
            Some(Given { value, .. }) => {
                let builder = &self.name;
                let call = quote_spanned!(value.span()=> #value());
                quote!({ let #builder: #fixture = #call; #builder })
            }
            None => quote_spanned!(ty.span()=> #fixture::new()),
        };
        let migrations = match args.migrations.map(|given| given.value) {
            Some(Migrations::Folder(folder)) => Some(quote!(.migrations_dir(#folder))),
            Some(Migrations::Value(value)) => {
                let value = if one_handle {
                    quote_spanned!(value.span()=> #here::migrator(#value))
                } else {
                    quote_spanned!(value.span()=> &#value)
                };
                Some(quote!(.migrations(#value)))
            }
            Some(Migrations::Nothing) => Some(quote!(.empty())),
            None if args.fixture.is_some() => None,
            None => Some(quote!(.migrations_dir_if_any("migrations"))),
        };
        let seeds = args.seeds.filter(|files| !files.is_empty()).map(|files| {
            // As bytes: what is not UTF-8 is then an error of its line.
            let files = files
                .iter()
                .map(|file| quote_spanned!(file.span()=> (#file, ::core::include_bytes!(#file).as_slice())));
            quote!(.seeds_included([#(#files),*]))
        });
        let strategy = args.strategy.map(|Given { word, value }| match value {
            Strategy::Named(variant) => quote!(.#word(#adapter::Strategy::#variant)),
            Strategy::Value(value) => quote!(.#word(#value)),
        });
        let connections = args.max_connections.map(|Given { value, .. }| quote!(.max_connections(#value)));
        quote! {
            #base
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                #migrations #seeds #strategy #connections
        }
    }
}

/// The path with its errors shown at `span`. `$crate` is found by its own span and keeps it.
fn respan(path: &Path, span: Span) -> TokenStream {
    let tokens = path.to_token_stream().into_iter().map(|mut token| {
        if !matches!(&token, TokenTree::Ident(name) if name == "$crate") {
            token.set_span(span);
        }
        token
    });
    tokens.collect()
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
        Some(second) => Err(Error::new_spanned(second, "an argument has one `#[db(…)]`: write both in one")),
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

#[cfg(test)]
mod tests;
