use insta::assert_snapshot;
use proc_macro2::TokenStream;
use syn::parse_quote;

use super::{Adapter, Function, expand};

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("the test's own tokens")
}

fn sqlx() -> Adapter {
    Adapter { path: parse_quote!(::dbtest_sqlx), one_handle: false }
}

fn result(args: &str, item: &str) -> syn::Result<TokenStream> {
    let function: Function = syn::parse2(tokens(item)).expect("the test's own function");
    expand(&sqlx(), tokens(args), &function)
}

/// What the attribute makes of a function, as one would write it.
fn expanded(args: &str, item: &str) -> String {
    let file = syn::parse2(result(args, item).expect("no error")).expect("items");
    prettyplease::unparse(&file)
}

/// Only the fixtures: one line for each argument.
fn fixtures(args: &str, arguments: &str) -> String {
    let function: Function = syn::parse2(tokens(&format!("fn f({arguments}) {{}}"))).expect("a function");
    let args: crate::args::TestArgs = syn::parse2(tokens(args)).expect("no error");
    let databases = function.databases().expect("no error");
    let lines = databases.iter().map(|database| {
        let fixture = database.fixture(&parse_quote!(C), false, &args.database).to_string();
        fixture
            .replace(' ', "")
            .replace("{let", "{let ")
            .replace("asC::", " as C::")
            .replace(".manifest_dir(::core::env!(\"CARGO_MANIFEST_DIR\"))", "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The error's text.
fn refused(args: &str, item: &str) -> String {
    result(args, item).expect_err("an error").to_string()
}

const ASYNC: &str = "async fn f(pool: PgPool) {}";

#[test]
fn the_shortest_test_makes_one_call() {
    assert_snapshot!(expanded("", "async fn rows_are_gone(pool: PgPool) { pool.acquire().await; }"), @r#"
    #[::core::prelude::v1::test]
    fn rows_are_gone() {
        async fn rows_are_gone(pool: PgPool) {
            pool.acquire().await;
        }
        ::dbtest_sqlx::runner::run_unit(
            ::dbtest_sqlx::runner::Test::at(
                    ::core::concat!(::core::module_path!(), "::", "rows_are_gone"),
                )
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                .package(::core::env!("CARGO_PKG_NAME")),
            (
                ::dbtest_sqlx::Fixture::<
                    <PgPool as ::dbtest_sqlx::FromTestDb>::Backend,
                >::new()
                    .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir_if_any("migrations"),
            ),
            async |(database_0,)| ::core::result::Result::Ok((
                <PgPool as ::dbtest_sqlx::FromTestDb>::from_test_db(database_0).await?,
            )),
            async |(database_0,): (PgPool,)| rows_are_gone(database_0).await,
        )
    }
    "#);
}

#[test]
fn all_that_may_be_said_is_in_that_call() {
    let args = r#"migrations = "./m", seeds("users.sql"), strategy = "truncate", max_connections = 3,
        flavor = "multi_thread", worker_threads = 4"#;
    let item = r#"
        /// A doc.
        #[ignore]
        pub async fn f(mut a: PgPool, #[allow(unused)] #[db(migrations = false)] b: &mut SqlitePool) -> Result<(), Error> {}
    "#;
    assert_snapshot!(expanded(args, item), @r#"
    #[::core::prelude::v1::test]
    /// A doc.
    #[ignore]
    pub fn f() -> ::std::process::ExitCode {
        async fn f(mut a: PgPool, #[allow(unused)] b: &mut SqlitePool) -> Result<(), Error> {}
        ::dbtest_sqlx::runner::run(
            ::dbtest_sqlx::runner::Test::at(
                    ::core::concat!(::core::module_path!(), "::", "f"),
                )
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                .package(::core::env!("CARGO_PKG_NAME"))
                .multi_thread(::core::option::Option::Some(4)),
            (
                ::dbtest_sqlx::Fixture::<
                    <PgPool as ::dbtest_sqlx::FromTestDb>::Backend,
                >::new()
                    .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir("./m")
                    .seeds_included([
                        ("users.sql", ::core::include_bytes!("users.sql").as_slice()),
                    ])
                    .strategy(::dbtest_sqlx::Strategy::Truncate)
                    .max_connections(3),
                ::dbtest_sqlx::Fixture::<
                    <SqlitePool as ::dbtest_sqlx::FromTestDb>::Backend,
                >::new()
                    .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                    .empty()
                    .seeds_included([
                        ("users.sql", ::core::include_bytes!("users.sql").as_slice()),
                    ])
                    .strategy(::dbtest_sqlx::Strategy::Truncate)
                    .max_connections(3),
            ),
            async |(database_0, database_1)| ::core::result::Result::Ok((
                <PgPool as ::dbtest_sqlx::FromTestDb>::from_test_db(database_0).await?,
                <SqlitePool as ::dbtest_sqlx::FromTestDb>::from_test_db(database_1).await?,
            )),
            async |(database_0, mut database_1): (PgPool, SqlitePool)| {
                f(database_0, &mut database_1).await
            },
        )
    }
    "#);
}

#[test]
fn a_blocking_test_has_no_runtime() {
    let item = "#[should_panic] fn f(connection: &mut PgConnection) -> () {}";
    assert_snapshot!(expanded("crate = renamed", item), @r#"
    #[::core::prelude::v1::test]
    #[should_panic]
    fn f() {
        fn f(connection: &mut PgConnection) -> () {}
        renamed::runner::run_blocking_unit(
            renamed::runner::Test::at(::core::concat!(::core::module_path!(), "::", "f"))
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                .package(::core::env!("CARGO_PKG_NAME"))
                .should_panic(),
            (
                renamed::Fixture::<<PgConnection as renamed::FromTestDb>::Backend>::new()
                    .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir_if_any("migrations"),
            ),
            async |(database_0,)| ::core::result::Result::Ok((
                <PgConnection as renamed::FromTestDb>::from_test_db(database_0).await?,
            )),
            |(mut database_0,): (PgConnection,)| f(&mut database_0),
        )
    }
    "#);
}

#[test]
fn migrations_are_a_folder_a_value_or_nothing() {
    let word = |args| fixtures(args, "a: A");
    assert_snapshot!(word(""), @r#"C::Fixture::<<A as C::FromTestDb>::Backend>::new().migrations_dir_if_any("migrations")"#);
    assert_snapshot!(word(r#"migrations = "./m""#), @r#"C::Fixture::<<A as C::FromTestDb>::Backend>::new().migrations_dir("./m")"#);
    assert_snapshot!(word("migrations = crate::MIGRATOR"), @"C::Fixture::<<A as C::FromTestDb>::Backend>::new().migrations(&crate::MIGRATOR)");
    assert_snapshot!(word(r#"migrator = "crate::MIGRATOR""#), @"C::Fixture::<<A as C::FromTestDb>::Backend>::new().migrations(&crate::MIGRATOR)");
    assert_snapshot!(word("migrations = false"), @"C::Fixture::<<A as C::FromTestDb>::Backend>::new().empty()");
    assert_snapshot!(word("fixture = crate::builder"), @"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=crate::builder();database_0}");
}

#[test]
fn a_strategy_is_a_word_or_an_expression() {
    let word = |args| fixtures(args, "a: A");
    assert_snapshot!(word(r#"fixture = f, strategy = "schema""#), @"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=f();database_0}.strategy(C::Strategy::Schema)");
    assert_snapshot!(word(r#"fixture = f, require = "rollback""#), @"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=f();database_0}.require(C::Strategy::Rollback)");
    assert_snapshot!(word("fixture = f, strategy = mine(3)"), @"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=f();database_0}.strategy(mine(3))");
}

#[test]
fn fixtures_are_found_where_sqlx_finds_them() {
    let args =
        r#"fixture = f, fixtures("users", "posts.sql", "./x.sql", path = "../dir", scripts("a", "b.sql"))"#;
    assert_snapshot!(fixtures(args, "a: A").replace(".seed", "\n.seed").replace("(\"", "\n(\"").replace("!\n", "!"), @r#"
    {let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=f();database_0}
    .seeds_included([
    ("fixtures/users.sql",::core::include_bytes!("fixtures/users.sql").as_slice()),
    ("fixtures/posts.sql",::core::include_bytes!("fixtures/posts.sql").as_slice()),
    ("./x.sql",::core::include_bytes!("./x.sql").as_slice()),
    ("../dir/a.sql",::core::include_bytes!("../dir/a.sql").as_slice()),
    ("../dir/b.sql",::core::include_bytes!("../dir/b.sql").as_slice())])
    "#);
}

#[test]
fn an_argument_has_the_last_word() {
    let args = r#"migrations = "./m", seeds("s.sql"), strategy = "rollback", max_connections = 2"#;
    let arguments = r#"
        a: A,
        #[db] b: &B,
        #[db(migrations = "./other", require = "template", max_connections = 5)] c: &mut C,
        #[db(seeds())] d: D
    "#;
    assert_snapshot!(fixtures(args, arguments), @r#"
    C::Fixture::<<A as C::FromTestDb>::Backend>::new().migrations_dir("./m").seeds_included([("s.sql",::core::include_bytes!("s.sql").as_slice())]).strategy(C::Strategy::Rollback).max_connections(2)
    C::Fixture::<<B as C::FromTestDb>::Backend>::new().migrations_dir("./m").seeds_included([("s.sql",::core::include_bytes!("s.sql").as_slice())]).strategy(C::Strategy::Rollback).max_connections(2)
    C::Fixture::<<C as C::FromTestDb>::Backend>::new().migrations_dir("./other").seeds_included([("s.sql",::core::include_bytes!("s.sql").as_slice())]).require(C::Strategy::Template).max_connections(5)
    C::Fixture::<<D as C::FromTestDb>::Backend>::new().migrations_dir("./m").strategy(C::Strategy::Rollback).max_connections(2)
    "#);
}

#[test]
fn an_argument_with_its_own_fixture_has_its_own_setup() {
    let args = r#"migrations = "./m", seeds("s.sql"), strategy = "rollback""#;
    assert_snapshot!(fixtures(args, "#[db(fixture = own)] a: A"), @"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=own();database_0}.strategy(C::Strategy::Rollback)");
    assert_snapshot!(fixtures("fixture = of_all", r#"#[db(seeds("s.sql"))] a: A"#), @r#"{let database_0:C::Fixture::<<A as C::FromTestDb>::Backend>=of_all();database_0}.seeds_included([("s.sql",::core::include_bytes!("s.sql").as_slice())])"#);
}

#[test]
fn unknown_words_are_answered_with_the_known() {
    assert_snapshot!(refused("migration = 1", ASYNC), @r"
    unknown word `migration`: did you mean `migrations`?
    allowed: `migrations`, `migrator`, `seeds`, `fixtures`, `fixture`, `strategy`, `require`, `max_connections`, `flavor`, `worker_threads`, `start_paused`, `crate`
    ");
    assert_snapshot!(refused("pool = 1", ASYNC), @r"
    unknown word `pool`
    allowed: `migrations`, `migrator`, `seeds`, `fixtures`, `fixture`, `strategy`, `require`, `max_connections`, `flavor`, `worker_threads`, `start_paused`, `crate`
    ");
    assert_snapshot!(refused("", "fn f(#[db(seed())] a: A) {}"), @r"
    unknown word `seed`: did you mean `seeds`?
    allowed: `migrations`, `migrator`, `seeds`, `fixtures`, `fixture`, `strategy`, `require`, `max_connections`
    ");
    assert_snapshot!(refused("", r#"fn f(#[db(flavor = "multi_thread")] a: A) {}"#), @"`flavor` is about the whole test: move it to the attribute of the function");
    assert_snapshot!(refused("fixtures(paths = 3)", ASYNC), @r"
    unknown word `paths`: did you mean `path`?
    allowed: `path`, `scripts`
    ");
    assert_snapshot!(refused(r#"strategy = "rolback""#, ASYNC), @r#"
    unknown strategy "rolback": did you mean "rollback"?
    allowed: "rollback", "truncate", "template", "schema", "auto"
    "#);
    assert_snapshot!(refused(r#"require = "transaction""#, ASYNC), @r#"
    unknown strategy "transaction"
    allowed: "rollback", "truncate", "template", "schema", "auto"
    "#);
    assert_snapshot!(refused(r#"flavor = "threads""#, ASYNC), @r#"
    unknown flavor "threads"
    allowed: "current_thread", "multi_thread"
    "#);
}

#[test]
fn wrong_values_are_answered_with_a_right_one() {
    assert_snapshot!(refused("migrations = true", ASYNC), @"`migrations` is a folder in quotes, the path of a migrator, or `false` for an empty database");
    assert_snapshot!(refused("migrations", ASYNC), @"`migrations` takes a value: write `migrations = …`");
    assert_snapshot!(refused(r#"seeds = "users.sql""#, ASYNC), @r#"`seeds` takes a list: write `seeds("users.sql")`"#);
    assert_snapshot!(refused(r#"fixture = "users.sql""#, ASYNC), @r#"`fixture` is the path of a function that returns a `Fixture`; for a file of SQL write `seeds("users.sql")`"#);
    assert_snapshot!(refused(r#""./migrations""#, ASYNC), @r#"expected a word, as in `migrations = "./migrations"`"#);
    assert_snapshot!(refused("max_connections = 0", ASYNC), @"must be at least 1");
    assert_snapshot!(refused(r#"fixtures(scripts("a"))"#, ASYNC), @r#"`scripts` needs `path = "folder"` before it"#);
}

#[test]
fn what_is_said_twice_is_refused() {
    assert_snapshot!(refused("migrations = false, migrations = false", ASYNC), @"`migrations` is given twice");
    assert_snapshot!(refused("migrations = false, migrator = M", ASYNC), @"`migrator` stands in the place of `migrations`: keep one of them");
    assert_snapshot!(refused(r#"strategy = "schema", require = "schema""#, ASYNC), @"`require` stands in the place of `strategy`: keep one of them");
    assert_snapshot!(refused("", "fn f(#[db(seeds())] #[db(seeds())] a: A) {}"), @"an argument has one `#[db(…)]`: write both in one");
}

#[test]
fn a_runtime_that_cannot_be_is_refused() {
    assert_snapshot!(refused("worker_threads = 4", ASYNC), @r#"`worker_threads` needs `flavor = "multi_thread"`: without it the test has one thread"#);
    assert_snapshot!(refused(r#"flavor = "current_thread", worker_threads = 4"#, ASYNC), @r#"`worker_threads` needs `flavor = "multi_thread"`: without it the test has one thread"#);
    assert_snapshot!(refused(r#"start_paused = true, flavor = "multi_thread""#, ASYNC), @r#"`start_paused` needs one thread: tokio has no paused clock with `flavor = "multi_thread"`"#);
    assert_snapshot!(refused("start_paused = true", "fn f(pool: PgPool) {}"), @"`start_paused` is about a test's runtime, and only an `async fn` has one");
}

#[test]
fn a_function_that_is_no_test_is_refused() {
    assert_snapshot!(refused("", "async fn f() {}"), @"this test takes no database: add an argument such as `pool: PgPool`");
    assert_snapshot!(refused("", "fn f(a: A, b: A, c: A, d: A, e: A) {}"), @"a test takes at most 4 databases");
    assert_snapshot!(refused("", "fn f<T>(a: T) {}"), @"a test can't be generic: name the type of each database");
    assert_snapshot!(refused("", "fn f(a: impl A) {}"), @"a test can't be generic: name the type of each database");
    assert_snapshot!(refused("", "fn f(&self, a: A) {}"), @"a test can't be a method");
    assert_snapshot!(refused("", "unsafe fn f(a: A) {}"), @"a test can't be `unsafe`: put an `unsafe` block inside");
    assert_snapshot!(refused("", r#"extern "C" fn f(a: A) {}"#), @"a test can't be `extern`");
    assert_snapshot!(refused("", "const fn f(a: A) {}"), @"a test can't be `const`");
    assert_snapshot!(refused("", "#[tokio::test] async fn f(a: A) {}"), @"`#[dbtest_sqlx::test]` makes this a test already: remove `#[tokio::test]`");
    assert_snapshot!(refused("", "#[rstest] fn f(a: A) {}"), @"`#[rstest]` makes a test of each case, so it comes first: write it above `#[dbtest_sqlx::test]`, and `#[ignore]` before each database");
}

#[test]
fn an_error_leaves_the_function_in_place() {
    let shown = super::test(&sqlx(), tokens("pool"), tokens("#[cfg(x)] async fn f(#[db] a: A) { b }"));
    assert_snapshot!(prettyplease::unparse(&syn::parse2(shown).expect("items")), @r#"
    ::core::compile_error! {
        "unknown word `pool`\nallowed: `migrations`, `migrator`, `seeds`, `fixtures`, `fixture`, `strategy`, `require`, `max_connections`, `flavor`, `worker_threads`, `start_paused`, `crate`"
    }
    #[allow(unused)]
    async fn f(a: A) {
        b
    }
    "#);
}

#[test]
fn where_all_engines_have_one_handle_rustc_finds_the_backend() {
    let adapter = Adapter { path: parse_quote!(::dbtest_seaorm), one_handle: true };
    let function = syn::parse2(tokens("async fn f(db: Db<SeaOrmSqlite>) {}")).expect("a function");
    let emitted = expand(&adapter, tokens("migrations = Migrator"), &function).expect("no error");
    assert_snapshot!(prettyplease::unparse(&syn::parse2(emitted).expect("items")), @r#"
    #[::core::prelude::v1::test]
    fn f() {
        async fn f(db: Db<SeaOrmSqlite>) {}
        ::dbtest_seaorm::runner::run_unit(
            ::dbtest_seaorm::runner::Test::at(
                    ::core::concat!(::core::module_path!(), "::", "f"),
                )
                .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                .package(::core::env!("CARGO_PKG_NAME")),
            (
                ::dbtest_seaorm::Fixture::<_>::new()
                    .manifest_dir(::core::env!("CARGO_MANIFEST_DIR"))
                    .migrations(::dbtest_seaorm::migrator(Migrator)),
            ),
            async |(database_0,)| ::core::result::Result::Ok((
                <Db<
                    SeaOrmSqlite,
                > as ::dbtest_seaorm::FromTestDb<_>>::from_test_db(database_0)
                    .await?,
            )),
            async |(database_0,): (Db<SeaOrmSqlite>,)| f(database_0).await,
        )
    }
    "#);
}
