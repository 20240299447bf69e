//! SeaORM with its own default pool.

use std::time::Duration;

use futures_util::future::{join, join_all};
use sea_orm::entity::prelude::*;
use sea_orm::{
    AccessMode, ActiveValue, Database, DatabaseConnection, IsolationLevel, QueryOrder, SqlErr, Statement,
    TransactionError, TransactionTrait,
};

use crate::place::{Place, dropped_after, each, run, same};

mod author {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "author")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        #[sea_orm(unique)]
        pub(crate) name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn connect(place: &Place) -> DatabaseConnection {
    Database::connect(&place.url).await.expect("a pool")
}

async fn add(to: &impl ConnectionTrait, name: &str) -> Result<(), DbErr> {
    let row = author::ActiveModel { name: ActiveValue::Set(name.to_owned()), ..Default::default() };
    row.insert(to).await.map(drop)
}

async fn names(of: &impl ConnectionTrait) -> String {
    let rows = author::Entity::find().order_by_asc(author::Column::Name).all(of).await.expect("names");
    rows.into_iter().map(|row| row.name).collect::<Vec<_>>().join(",")
}

async fn value(of: &impl ConnectionTrait, sql: &str) -> String {
    let row = of.query_one_raw(Statement::from_string(of.get_database_backend(), sql)).await;
    row.expect("a query").expect("a row").try_get_by_index(0).expect("text")
}

fn told<T>(result: Result<T, DbErr>) -> String {
    match result {
        Ok(_) => "fine".to_owned(),
        Err(error) => match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(message)) => format!("unique: {message}"),
            _ => error.to_string(),
        },
    }
}

#[test]
fn a_transaction_begins_with_its_isolation_level() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let mut transcript = Vec::new();
            for (level, mode) in [
                (IsolationLevel::Serializable, None),
                (IsolationLevel::RepeatableRead, Some(AccessMode::ReadWrite)),
                (IsolationLevel::ReadCommitted, Some(AccessMode::ReadOnly)),
                (IsolationLevel::Serializable, Some(AccessMode::ReadOnly)),
            ] {
                let transaction = db.begin_with_config(Some(level), mode).await.expect("a transaction");
                let shown = value(&transaction, "SHOW transaction_isolation").await;
                transcript.push(place.level(&level.to_string().to_lowercase(), &shown));
                transcript.push(told(add(&transaction, &format!("{level} {mode:?}")).await));
                transcript.push(told(transaction.commit().await));
            }
            add(&db, "after").await.expect("a row");
            transcript.push(names(&db).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn a_closure_is_a_transaction() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let fine = db
                .transaction::<_, (), DbErr>(|transaction| {
                    Box::pin(async move {
                        add(transaction, "A").await?;
                        let failed = transaction
                            .transaction::<_, (), DbErr>(|nested| {
                                Box::pin(async move {
                                    add(nested, "B").await?;
                                    add(nested, "A").await
                                })
                            })
                            .await;
                        assert!(failed.is_err());
                        transaction
                            .transaction_with_config::<_, (), DbErr>(
                                |nested| Box::pin(add_boxed(nested, "C")),
                                None,
                                None,
                            )
                            .await
                            .map_err(|error| match error {
                                TransactionError::Connection(error)
                                | TransactionError::Transaction(error) => error,
                            })
                    })
                })
                .await;
            assert!(fine.is_ok(), "{fine:?}");
            let failed = db
                .transaction::<_, (), DbErr>(|transaction| {
                    Box::pin(async move {
                        add(transaction, "D").await?;
                        Err(DbErr::Custom("its own".to_owned()))
                    })
                })
                .await;
            let serializable = db
                .transaction_with_config::<_, (), DbErr>(
                    |transaction| Box::pin(add_boxed(transaction, "E")),
                    Some(IsolationLevel::Serializable),
                    None,
                )
                .await;
            format!("{} {} {}", failed.is_err(), serializable.is_ok(), names(&db).await)
        })
    });
}

async fn add_boxed(to: &sea_orm::DatabaseTransaction, name: &'static str) -> Result<(), DbErr> {
    add(to, name).await
}

#[test]
fn a_begin_that_is_dropped_half_way_costs_no_more_than_its_own_connection() {
    same(|place| {
        run(async {
            for polls in 0..12 {
                let db = connect(place).await;
                drop(dropped_after(polls, db.begin()).await);
                drop(
                    dropped_after(polls, db.begin_with_config(Some(IsolationLevel::Serializable), None))
                        .await,
                );
                // May be rolled back with what was begun, on any server: see sqlx's check.
                add(&db, &format!("maybe {polls:02}")).await.expect("a row");
                db.close().await.expect("closed");
                let db = connect(place).await;
                add(&db, &format!("surely {polls:02}")).await.expect("a row");
                db.close().await.expect("closed");
            }
            let db = connect(place).await;
            db.execute_unprepared("DELETE FROM author WHERE name LIKE 'maybe%'").await.expect("deleted");
            names(&db).await
        })
    });
}

#[test]
fn a_failed_statement_outside_a_transaction_harms_no_other() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let mut transcript = Vec::new();
            for name in ["A", "A", "B"] {
                transcript.push(told(add(&db, name).await));
                transcript.push(told(db.execute_unprepared("SELECT 1/0").await));
                transcript.push(told(db.execute_unprepared("SELECT nowhere").await));
            }
            transcript.push(names(&db).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn begin_and_commit_as_text_are_a_transaction() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            db.execute_unprepared(
                "BEGIN; INSERT INTO author (name) VALUES ('A'); COMMIT; \
                 BEGIN; INSERT INTO author (name) VALUES ('B'); ROLLBACK",
            )
            .await
            .expect("run");
            // On a pool nobody knows on which connection the next statement runs; with one user
            // it is the same.
            db.execute_unprepared("BEGIN").await.expect("begun");
            add(&db, "C").await.expect("a row");
            db.execute_unprepared("COMMIT").await.expect("committed");
            names(&db).await
        })
    });
}

#[test]
fn the_schema_changes_in_and_out_of_a_transaction() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            db.execute_unprepared("CREATE TABLE own (x int); ALTER TABLE author ADD born int")
                .await
                .expect("changed");
            let transaction = db.begin().await.expect("a transaction");
            transaction.execute_unprepared("DROP TABLE book").await.expect("dropped");
            transaction.rollback().await.expect("rolled back");
            add(&db, "A").await.expect("a row");
            value(&db, "SELECT count(*)::text || ' ' || (SELECT count(*) FROM own) FROM book").await
        })
    });
}

#[test]
fn transactions_nest_and_roll_back_when_dropped() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let outer = db.begin().await.expect("a transaction");
            add(&outer, "A").await.expect("a row");
            let inner = outer.begin().await.expect("a savepoint");
            let failed = told(add(&inner, "A").await);
            inner.rollback().await.expect("rolled back");
            {
                let dropped = outer.begin().await.expect("a savepoint");
                add(&dropped, "B").await.expect("a row");
            }
            add(&outer, "C").await.expect("a row");
            outer.commit().await.expect("committed");
            {
                let dropped = db.begin().await.expect("a transaction");
                add(&dropped, "D").await.expect("a row");
            }
            format!("{failed} {}", names(&db).await)
        })
    });
}

#[test]
fn two_transactions_of_one_pool_come_one_after_the_other() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let work = async |_: i32| {
                let transaction = db.begin().await?;
                transaction.execute_unprepared("UPDATE author SET name = name || '.' WHERE id = 1").await?;
                author::Entity::find().all(&transaction).await?;
                transaction.commit().await
            };
            for done in join_all((0..10).map(work)).await {
                done.expect("each of them");
            }
            names(&db).await
        })
    });
}

#[test]
fn a_second_user_waits_for_the_first_to_commit() {
    same(|place| {
        run(async {
            let db = connect(place).await;
            let update = "UPDATE author SET name = name || '!' WHERE id = 1";
            let holder = db.begin().await.expect("a transaction");
            holder.execute_unprepared(update).await.expect("a row");
            let waiting = async {
                db.execute_unprepared(update).await.expect("a row");
            };
            let holding = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                holder.commit().await.expect("committed");
            };
            join(waiting, holding).await;
            names(&db).await
        })
    });
}

#[test]
fn a_second_user_of_a_transaction_that_never_ends_is_told_so() {
    each(|place| {
        if !place.sandboxed() {
            return;
        }
        run(async {
            let db = connect(place).await;
            let holder =
                db.begin_with_config(Some(IsolationLevel::Serializable), None).await.expect("a transaction");
            add(&holder, "held").await.expect("a row");
            let error = add(&db, "second").await.expect_err("refused");
            assert!(format!("{error:?}").contains("40P01"), "{error:?}");
            holder.commit().await.expect("the holder is not harmed");
            add(&db, "second").await.expect("now it is free");
            assert_eq!(names(&db).await, "Frank Herbert,Ursula K. Le Guin,held,second");
        });
    });
}
