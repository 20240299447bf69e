//! The attribute of dbtest. It parses, then emits one call into the runner: whatever it does
//! can be done without it. Adapters re-export it as `test`.

mod args;
mod expand;
mod word;

use proc_macro::TokenStream;

/// Gives a test its own clean database: `#[dbtest_sqlx::test]`.
///
/// Each argument of the test is one database, and its type says which ORM and engine: `T`, `&T`
/// or `&mut T`, where `T` implements `FromTestDb`. A test takes one to four. It may be `async`
/// or not, and return `()` or whatever a `main` may return.
///
/// ```text
/// #[dbtest_sqlx::test(seeds("users.sql"))]
/// async fn a_user_has_a_name(pool: PgPool) -> Result<(), sqlx::Error> { … }
/// ```
///
/// # What it takes
///
/// Every word is optional. The first group may also stand in `#[db(…)]` before one argument of
/// the test; there it replaces the same word of the whole test.
///
/// | word | the database |
/// | --- | --- |
/// | `migrations = "./migrations"` | runs the files of this folder, seen from `Cargo.toml`; without the word, those of `migrations` if there is such a folder |
/// | `migrations = path::TO_MIGRATOR` | runs the migrations of the ORM's own type; `migrator = …` is the same |
/// | `migrations = false` | starts empty |
/// | `seeds("users.sql", "books.csv")` | holds these files' rows for this test, seen from the source file: SQL, or the rows of the table `books` as `"books.csv"` or `"books.json"` |
/// | `fixtures("users", path = "dir", scripts("a"))` | the same in the words of `#[sqlx::test]`: `fixtures/users.sql` and `dir/a.sql` |
/// | `fixture = path::to::builder` | starts from the `Fixture` that this function returns; the other words add to it |
/// | `strategy = "rollback"` | is isolated like this unless `DBTEST_STRATEGY` says otherwise; or `"truncate"`, `"template"`, `"schema"`, `"auto"`, or an expression |
/// | `require = "rollback"` | is isolated like this, whatever else is said; takes the same values |
/// | `max_connections = 3` | lets a pool open this many connections |
///
/// | word | the test |
/// | --- | --- |
/// | `flavor = "current_thread"` | runs on one thread (the default), or on several with `"multi_thread"` |
/// | `worker_threads = 4` | has this many threads; needs `flavor = "multi_thread"` |
/// | `start_paused = true` | starts with tokio's clock paused; needs one thread |
/// | `crate = path` | finds the adapter under another name |
///
/// An argument with a `fixture` of its own is that fixture: it takes neither `migrations` nor
/// `seeds` from the test. `seeds()` takes away the test's.
///
/// ```text
/// #[dbtest_sqlx::test(strategy = "truncate")]
/// async fn orders_reach_the_archive(
///     #[db(migrations = "./orders")] orders: PgPool,
///     #[db(migrations = "./archive", strategy = "template")] archive: &SqlitePool,
/// ) { … }
/// ```
///
/// Other attributes (`#[should_panic]`, `#[ignore]`, `#[cfg(…)]`) work as on any test.
#[proc_macro_attribute]
pub fn test_sqlx(args: TokenStream, item: TokenStream) -> TokenStream {
    let adapter = expand::Adapter { path: syn::parse_quote!(::dbtest_sqlx), one_handle: false };
    expand::test(&adapter, args.into(), item.into()).into()
}

/// Gives a test its own clean database: `#[dbtest_seaorm::test]`.
///
/// It takes what `#[dbtest_sqlx::test]` takes, word for word: see `test_sqlx` in this crate. Two
/// things are SeaORM's own.
///
/// - A `DatabaseConnection` is the same type on every engine. Take `Db<SeaOrmPostgres>`, or a
///   plain `DatabaseConnection` where the `fixture` says the backend, or where the adapter has
///   the feature of one engine only.
/// - `migrations = path::to::Migrator` names a `MigratorTrait`.
///
/// ```text
/// #[dbtest_seaorm::test(migrations = Migrator)]
/// async fn a_user_has_a_name(Db(db): Db<SeaOrmPostgres>) -> Result<(), DbErr> { … }
/// ```
#[proc_macro_attribute]
pub fn test_seaorm(args: TokenStream, item: TokenStream) -> TokenStream {
    let adapter = expand::Adapter { path: syn::parse_quote!(::dbtest_seaorm), one_handle: true };
    expand::test(&adapter, args.into(), item.into()).into()
}

/// The attribute of `dbtest-sqlx` for [Diesel](https://docs.rs/diesel): `#[dbtest_diesel::test]`,
/// with the same words.
///
/// ```text
/// #[dbtest_diesel::test(seeds("users.sql"))]
/// fn a_user_has_a_name(connection: &mut PgConnection) -> QueryResult<()> { … }
/// ```
#[proc_macro_attribute]
pub fn test_diesel(args: TokenStream, item: TokenStream) -> TokenStream {
    let adapter = expand::Adapter { path: syn::parse_quote!(::dbtest_diesel), one_handle: false };
    expand::test(&adapter, args.into(), item.into()).into()
}

/// The same for [diesel-async](https://docs.rs/diesel-async): `#[dbtest_diesel::asynchronous::test]`.
///
/// ```text
/// #[dbtest_diesel::asynchronous::test(seeds("users.sql"))]
/// async fn a_user_has_a_name(pool: Pool<AsyncPgConnection>) -> QueryResult<()> { … }
/// ```
#[proc_macro_attribute]
pub fn test_diesel_async(args: TokenStream, item: TokenStream) -> TokenStream {
    let adapter =
        expand::Adapter { path: syn::parse_quote!(::dbtest_diesel::asynchronous), one_handle: false };
    expand::test(&adapter, args.into(), item.into()).into()
}
