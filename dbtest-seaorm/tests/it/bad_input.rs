//! What can go wrong before a test begins: each has a message that names the operation, the
//! database and the next step, and never the password.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use dbtest_seaorm::Server;
use dbtest_seaorm::{Backend, ErrorKind, Fixture, StepError, migrator};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, EntityTrait};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, Table};
use sea_orm_migration::{async_trait, schema};

use crate::app::{Migrator, book, m0001_authors};

const SECRET: &str = "hunter2";

/// Opens the fixture and checks what every message must have.
async fn refused<B: Backend>(fixture: Fixture<B>, kind: ErrorKind, words: &[&str]) -> String {
    let error = fixture.open().await.expect_err("this can't be opened");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains("\n  next step: "), "no next step: {text}");
    assert!(!text.contains(SECRET), "the password is shown: {text}");
    assert_eq!(format!("{error:?}"), text, "unwrap() shows the same");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
    text
}

/// Points a URL at another user.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn as_user(url: &str, user: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("a user");
    let (host, tail) = place.split_once('/').expect("a database");
    let parameters = tail.split_once('?').map_or(String::new(), |(_, text)| format!("?{text}"));
    format!("{scheme}://{user}:{SECRET}@{host}/{database}{parameters}")
}

/// Its second migration is broken, in one of two ways.
struct Broken<const RAW: bool>;

impl<const RAW: bool> MigratorTrait for Broken<RAW> {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_authors::Migration), Box::new(BrokenBooks { raw: RAW })]
    }
}

struct BrokenBooks {
    raw: bool,
}

impl MigrationName for BrokenBooks {
    fn name(&self) -> &str {
        "m0002_broken_books"
    }
}

#[async_trait::async_trait]
#[allow(elided_lifetimes_in_paths)]
impl MigrationTrait for BrokenBooks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if self.raw {
            return manager
                .get_connection()
                .execute_unprepared("CREATE TABL shelves (id INT)")
                .await
                .map(drop);
        }
        // The same table twice.
        for _ in 0..2 {
            let id = schema::pk_auto(book::Column::Id);
            manager.create_table(Table::create().table(book::Entity).col(id).to_owned()).await?;
        }
        Ok(())
    }
}

macro_rules! migrations {
    ($backend:ident, $folder:literal) => {
        use dbtest_seaorm::$backend;

        /// The file and the statement are shown to the first test, the others are pointed at it.
        #[tokio::test]
        async fn a_migration_that_fails_in_the_middle() {
            let fixture = || {
                Fixture::<$backend>::new().manifest_dir(env!("CARGO_MANIFEST_DIR")).migrations_dir($folder)
            };
            let words = ["migration 2 books", "CREATE TABL shelves", "syntax", "then run the tests again"];
            refused(fixture(), ErrorKind::Setup, &words).await;
            let second = fixture().open_for("another test").await.expect_err("still broken");
            assert!(second.to_string().contains("failed before in this run, in bad_input::"), "{second}");
            assert!(!second.to_string().contains("shelves"), "shown twice: {second}");
        }

        #[tokio::test]
        async fn a_migration_in_code_that_fails_in_the_middle() {
            let built = Fixture::<$backend>::new().migrations(migrator(Broken::<false>));
            let words =
                ["migration m0002_broken_books", "statement: CREATE TABLE", "books", "already exists"];
            refused(built, ErrorKind::Setup, &words).await;
            // SeaORM does not say what it sent as text; the database does.
            let raw = Fixture::<$backend>::new().migrations(migrator(Broken::<true>));
            refused(raw, ErrorKind::Setup, &["migration m0002_broken_books", "TABL", "syntax"]).await;
        }

        /// A dump that a later version of the application wrote, and its migrations of today.
        #[tokio::test]
        async fn the_migrations_table_knows_what_the_code_does_not() {
            let dump =
                "CREATE TABLE seaql_migrations (version VARCHAR(99) PRIMARY KEY, applied_at BIGINT NOT NULL);
                INSERT INTO seaql_migrations VALUES ('m0003_shelves', 0);";
            let fixture = Fixture::<$backend>::new().sql("dump.sql", dump).migrations(migrator(Migrator));
            let words = ["Migrator", "m0003_shelves", "its file is missing"];
            refused(fixture, ErrorKind::Setup, &words).await;
        }

        #[tokio::test]
        async fn a_seed_in_code_that_fails() {
            let fixture = Fixture::<$backend>::new().migrations(migrator(Migrator)).version("1").seed(
                |db: DatabaseConnection| async move {
                    let orphan = book::ActiveModel::default();
                    book::Entity::insert(orphan).exec(&db).await.map(drop)
                },
            );
            refused(fixture, ErrorKind::Setup, &["the seed at ", "bad_input.rs"]).await;
        }

        /// Whatever a migrator's own connection was replaced with is nothing to run files on.
        #[tokio::test]
        async fn a_folder_runs_on_a_connection_of_ours_only() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join($folder);
            let migrations = $backend::migrations(&folder).expect("a folder");
            let StepError { message, .. } =
                migrations.run(DatabaseConnection::default()).await.expect_err("there is no pool");
            assert!(message.contains("not one that dbtest opened"), "{message}");
        }
    };
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    migrations!(SeaOrmSqlite, "tests/it/broken/sqlite");

    #[tokio::test]
    async fn a_migrations_folder_that_is_not_there() {
        let fixture = Fixture::<SeaOrmSqlite>::new().migrations_dir("nowhere");
        refused(fixture, ErrorKind::Config, &["nowhere", "cannot be used"]).await;
    }

    #[tokio::test]
    async fn no_setup_at_all() {
        let words = ["names no setup", "migrations = false", "sqlite::no_setup_at_all"];
        refused(Fixture::<SeaOrmSqlite>::new(), ErrorKind::Config, &words).await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;

    migrations!(SeaOrmPostgres, "tests/it/broken/postgres");

    #[tokio::test]
    async fn a_malformed_url() {
        for url in ["postgres://u:hunter2@host:notaport/db", "not a url hunter2", "mysql://u:hunter2@h/db"] {
            let fixture = Fixture::<SeaOrmPostgres>::new().empty().server(Server::url(url));
            let words = ["is not a URL of a Postgres server", "postgres://user"];
            refused(fixture, ErrorKind::Config, &words).await;
        }
    }

    #[tokio::test]
    async fn a_server_that_is_down() {
        // Port 1 is nobody's.
        let url = format!("postgres://u:{SECRET}@127.0.0.1:1/db");
        let fixture = Fixture::<SeaOrmPostgres>::new().empty().server(Server::url(url));
        let words = ["cannot connect to Postgres (db at 127.0.0.1:1, the fixture's URL)"];
        refused(fixture, ErrorKind::Connect, &words).await;
    }

    #[tokio::test]
    async fn a_wrong_password() {
        let db = Fixture::<SeaOrmPostgres>::new().empty().open().await.expect("a database");
        let role = format!("dbtest_seaorm_role_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'right'");
        db.handle().execute_unprepared(&create).await.expect("a role");
        // Where the server trusts its socket no password is wrong; a user that is not there is.
        let url = as_user(db.url(), &format!("{role}_x"), "postgres");
        let fixture = Fixture::<SeaOrmPostgres>::new().empty().server(Server::url(url));
        let words = ["cannot connect to Postgres", &role, "check user and password"];
        refused(fixture, ErrorKind::Connect, &words).await;
        db.handle().execute_unprepared(&format!("DROP ROLE {role}")).await.expect("dropped");
        db.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_user_who_may_not_create_databases() {
        let db = Fixture::<SeaOrmPostgres>::new().empty().open().await.expect("a database");
        let role = format!("dbtest_seaorm_poor_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'");
        db.handle().execute_unprepared(&create).await.expect("a role");
        let url = as_user(&db.database_url(), &role, "postgres");
        let fixture = Fixture::<SeaOrmPostgres>::new().empty().server(Server::url(url));
        let words = ["may not create databases", "CREATEDB", "\"schema\""];
        refused(fixture, ErrorKind::Unsupported, &words).await;
        db.handle().execute_unprepared(&format!("DROP ROLE {role}")).await.expect("dropped");
        db.close().await.expect("closed");
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use super::*;

    migrations!(SeaOrmMySql, "tests/it/broken/mysql");

    #[tokio::test]
    async fn a_malformed_url() {
        let url = "mysql://u:hunter2@host:notaport/db";
        let fixture = Fixture::<SeaOrmMySql>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Config, &["is not a URL of a MySQL server"]).await;
    }

    #[tokio::test]
    async fn a_user_who_is_not_there() {
        let db = Fixture::<SeaOrmMySql>::new().empty().open().await.expect("a database");
        let url = as_user(db.url(), "dbtest_nobody", "mysql");
        let fixture = Fixture::<SeaOrmMySql>::new().empty().server(Server::url(url));
        let words = ["cannot connect to MySQL", "dbtest_nobody", "check user and password"];
        refused(fixture, ErrorKind::Connect, &words).await;
        db.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_user_who_may_not_create_databases() {
        let db = Fixture::<SeaOrmMySql>::new().empty().open().await.expect("a database");
        let user = format!("dbtest_sea_{}", std::process::id());
        let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'");
        db.handle().execute_unprepared(&create).await.expect("a user");
        let url = as_user(db.url(), &user, "information_schema");
        let fixture = Fixture::<SeaOrmMySql>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Rights, &["dbtest_meta", "denied", "GRANT ALL ON `dbtest\\_%`"]).await;
        db.handle().execute_unprepared(&format!("DROP USER '{user}'@'%'")).await.expect("dropped");
        db.close().await.expect("closed");
    }
}
