//! What stands in the attribute's parentheses.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitBool, LitInt, LitStr, Path, Result, Token, parenthesized, token,
};

use crate::word::unknown;

const DATABASE_WORDS: [&str; 8] =
    ["migrations", "migrator", "seeds", "fixtures", "fixture", "strategy", "require", "max_connections"];
const TEST_WORDS: [&str; 4] = ["flavor", "worker_threads", "start_paused", "crate"];
const STRATEGIES: [&str; 5] = ["rollback", "truncate", "template", "schema", "auto"];
const FLAVORS: [&str; 2] = ["current_thread", "multi_thread"];

/// `#[dbtest_sqlx::test(…)]`: the whole test.
#[derive(Default)]
pub(crate) struct TestArgs {
    pub(crate) adapter: Option<Given<Path>>,
    pub(crate) database: DatabaseArgs,
    pub(crate) runtime: Option<Given<Runtime>>,
}

/// `#[db(…)]`: one database.
#[derive(Clone, Default)]
pub(crate) struct DatabaseArgs {
    pub(crate) fixture: Option<Given<Path>>,
    pub(crate) migrations: Option<Given<Migrations>>,
    /// Files, seen from the source file.
    pub(crate) seeds: Option<Vec<LitStr>>,
    /// The word is the builder's method: `strategy` or `require`.
    pub(crate) strategy: Option<Given<Strategy>>,
    pub(crate) max_connections: Option<Given<LitInt>>,
}

/// A value and the word that it was given for.
#[derive(Clone)]
pub(crate) struct Given<T> {
    pub(crate) word: Ident,
    pub(crate) value: T,
}

#[derive(Clone)]
pub(crate) enum Migrations {
    Folder(LitStr),
    Value(Path),
    Nothing,
}

#[derive(Clone)]
pub(crate) enum Strategy {
    /// A variant of `Strategy`.
    Named(Ident),
    Value(Expr),
}

pub(crate) enum Runtime {
    OneThread { paused: bool },
    Threads(Option<LitInt>),
}

impl Parse for TestArgs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Self::default();
        let (mut flavor, mut threads, mut paused) = (None, None, None);
        each_word(input, |word| match word.to_string().as_str() {
            "crate" => once(&mut args.adapter, word, input, path),
            "flavor" => once(&mut flavor, word, input, multi_thread),
            "worker_threads" => once(&mut threads, word, input, number),
            "start_paused" => once(&mut paused, word, input, LitBool::parse),
            name if DATABASE_WORDS.contains(&name) => args.database.set(word, input),
            name => {
                Err(unknown(word.span(), "word", name, '`', &[&DATABASE_WORDS[..], &TEST_WORDS].concat()))
            }
        })?;
        args.runtime = runtime(flavor, threads, paused)?;
        Ok(args)
    }
}

impl Parse for DatabaseArgs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Self::default();
        each_word(input, |word| match word.to_string().as_str() {
            name if DATABASE_WORDS.contains(&name) => args.set(word, input),
            name if TEST_WORDS.contains(&name) => {
                let message =
                    format!("`{name}` is about the whole test: move it to the attribute of the function");
                Err(Error::new(word.span(), message))
            }
            name => Err(unknown(word.span(), "word", name, '`', &DATABASE_WORDS)),
        })?;
        Ok(args)
    }
}

impl DatabaseArgs {
    /// What this database says, and what the test says where this is silent. A fixture of its
    /// own is a setup of its own.
    pub(crate) fn or(self, test: &Self) -> Self {
        let setup = if self.fixture.is_some() { &Self::default() } else { test };
        Self {
            migrations: self.migrations.or_else(|| setup.migrations.clone()),
            seeds: self.seeds.or_else(|| setup.seeds.clone()),
            fixture: self.fixture.or_else(|| test.fixture.clone()),
            strategy: self.strategy.or_else(|| test.strategy.clone()),
            max_connections: self.max_connections.or_else(|| test.max_connections.clone()),
        }
    }

    /// Takes in one of [`DATABASE_WORDS`].
    fn set(&mut self, word: Ident, input: ParseStream<'_>) -> Result<()> {
        match word.to_string().as_str() {
            "migrations" => once(&mut self.migrations, word, input, migrations),
            "migrator" => once(&mut self.migrations, word, input, |input| path(input).map(Migrations::Value)),
            "fixture" => once(&mut self.fixture, word, input, builder),
            "strategy" | "require" => once(&mut self.strategy, word, input, strategy),
            "max_connections" => once(&mut self.max_connections, word, input, number),
            "seeds" => add(&mut self.seeds, &word, input, seeds),
            _ => add(&mut self.seeds, &word, input, fixtures),
        }
    }
}

/// Reads words separated by commas; `each` reads what comes after a word.
fn each_word(input: ParseStream<'_>, mut each: impl FnMut(Ident) -> Result<()>) -> Result<()> {
    while !input.is_empty() {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected a word, as in `migrations = \"./migrations\"`"));
        }
        each(input.call(Ident::parse_any)?)?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

/// Reads `= value`.
fn once<T>(
    given: &mut Option<Given<T>>,
    word: Ident,
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> Result<T>,
) -> Result<()> {
    if let Some(Given { word: earlier, .. }) = given {
        let message = if *earlier == word {
            format!("`{word}` is given twice")
        } else {
            format!("`{word}` stands in the place of `{earlier}`: keep one of them")
        };
        return Err(Error::new(word.span(), message));
    }
    if !input.peek(Token![=]) {
        return Err(Error::new(word.span(), format!("`{word}` takes a value: write `{word} = …`")));
    }
    input.parse::<Token![=]>()?;
    *given = Some(Given { word, value: parse(input)? });
    Ok(())
}

/// Reads `(list)`. A list may be given again and grows.
fn add(
    given: &mut Option<Vec<LitStr>>,
    word: &Ident,
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> Result<Vec<LitStr>>,
) -> Result<()> {
    if !input.peek(token::Paren) {
        let message = format!("`{word}` takes a list: write `{word}(\"users.sql\")`");
        return Err(Error::new(word.span(), message));
    }
    let list;
    parenthesized!(list in input);
    given.get_or_insert_default().extend(parse(&list)?);
    Ok(())
}

fn migrations(input: ParseStream<'_>) -> Result<Migrations> {
    match expression(input)? {
        Expr::Lit(ExprLit { lit: Lit::Str(folder), .. }) => Ok(Migrations::Folder(folder)),
        Expr::Lit(ExprLit { lit: Lit::Bool(LitBool { value: false, .. }), .. }) => Ok(Migrations::Nothing),
        Expr::Path(value) if value.qself.is_none() => Ok(Migrations::Value(value.path)),
        other => Err(Error::new_spanned(
            other,
            "`migrations` is a folder in quotes, the path of a migrator, or `false` for an empty database",
        )),
    }
}

fn strategy(input: ParseStream<'_>) -> Result<Strategy> {
    let name = match expression(input)? {
        Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => name,
        value => return Ok(Strategy::Value(value)),
    };
    let variant = match name.value().as_str() {
        "rollback" => "Rollback",
        "truncate" => "Truncate",
        "template" => "Template",
        "schema" => "Schema",
        "auto" => "Auto",
        other => return Err(unknown(name.span(), "strategy", other, '"', &STRATEGIES)),
    };
    Ok(Strategy::Named(Ident::new(variant, name.span())))
}

/// The path of a function, never a string: that would be a file.
fn builder(input: ParseStream<'_>) -> Result<Path> {
    if input.peek(LitStr) {
        return Err(input.error(
            "`fixture` is the path of a function that returns a `Fixture`; \
             for a file of SQL write `seeds(\"users.sql\")`",
        ));
    }
    input.parse()
}

/// A path, or one in quotes as sqlx has it.
fn path(input: ParseStream<'_>) -> Result<Path> {
    if input.peek(LitStr) { input.parse::<LitStr>()?.parse() } else { input.parse() }
}

fn number(input: ParseStream<'_>) -> Result<LitInt> {
    let number: LitInt = input.parse()?;
    match number.base10_parse::<u32>()? {
        0 => Err(Error::new(number.span(), "must be at least 1")),
        _ => Ok(number),
    }
}

fn multi_thread(input: ParseStream<'_>) -> Result<bool> {
    let flavor: LitStr = input.parse()?;
    match flavor.value().as_str() {
        "current_thread" => Ok(false),
        "multi_thread" => Ok(true),
        other => Err(unknown(flavor.span(), "flavor", other, '"', &FLAVORS)),
    }
}

fn runtime(
    flavor: Option<Given<bool>>,
    threads: Option<Given<LitInt>>,
    paused: Option<Given<LitBool>>,
) -> Result<Option<Given<Runtime>>> {
    let is_paused = paused.as_ref().is_some_and(|given| given.value.value);
    match (flavor, threads, paused) {
        (Some(Given { value: true, .. }), _, Some(paused)) if is_paused => Err(Error::new(
            paused.word.span(),
            "`start_paused` needs one thread: tokio has no paused clock with `flavor = \"multi_thread\"`",
        )),
        (Some(Given { word, value: true }), threads, _) => {
            Ok(Some(Given { word, value: Runtime::Threads(threads.map(|given| given.value)) }))
        }
        (_, Some(threads), _) => Err(Error::new(
            threads.word.span(),
            "`worker_threads` needs `flavor = \"multi_thread\"`: without it the test has one thread",
        )),
        (Some(Given { word, .. }), None, _) | (None, None, Some(Given { word, .. })) => {
            Ok(Some(Given { word, value: Runtime::OneThread { paused: is_paused } }))
        }
        (None, None, None) => Ok(None),
    }
}

fn seeds(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

/// The list of sqlx's `fixtures`: names in `fixtures/`, paths, and `path = "dir", scripts("name")`.
fn fixtures(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let mut files = Vec::new();
    let mut folder: Option<Given<LitStr>> = None;
    while !input.is_empty() {
        if input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            let is_path = name.value().contains(['/', '\\']);
            files.push(if is_path { name } else { script("fixtures", &name) });
        } else {
            let word = input.call(Ident::parse_any)?;
            match (word.to_string().as_str(), &folder) {
                ("path", _) => once(&mut folder, word, input, |input| input.parse())?,
                ("scripts", None) => {
                    return Err(Error::new(word.span(), "`scripts` needs `path = \"folder\"` before it"));
                }
                ("scripts", Some(folder)) => {
                    let names;
                    parenthesized!(names in input);
                    files.extend(seeds(&names)?.iter().map(|name| script(&folder.value.value(), name)));
                }
                (name, _) => return Err(unknown(word.span(), "word", name, '`', &["path", "scripts"])),
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(files)
}

fn script(folder: &str, name: &LitStr) -> LitStr {
    let text = name.value();
    let extension = if std::path::Path::new(&text).extension().is_none() { ".sql" } else { "" };
    LitStr::new(&format!("{folder}/{text}{extension}"), name.span())
}

/// What a fragment of `macro_rules!` hides is what the user wrote.
fn expression(input: ParseStream<'_>) -> Result<Expr> {
    let mut expression: Expr = input.parse()?;
    while let Expr::Group(group) = expression {
        expression = *group.expr;
    }
    Ok(expression)
}
