//! What the sandbox of the strategy "rollback" on Postgres keeps, changes and refuses. Each row of
//! the table in `docs/src/sandbox.md` names its test here, and a test holds the page to that.

mod postgres {
    use dbtest_sqlx::{SqlxPostgres, TestDb};
    use sqlx::postgres::{PgListener, PgPoolCopyExt};
    use sqlx::{Acquire, Connection, Executor, PgConnection, PgPool, Row, SqlSafeStr};

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// A value as text.
    async fn value(
        on: impl Executor<'_, Database = sqlx::Postgres>,
        sql: &'static str,
    ) -> sqlx::Result<String> {
        let row = on.fetch_one(sqlx::raw_sql(sql)).await?;
        Ok(row.try_get_unchecked::<Option<String>, _>(0)?.unwrap_or_default())
    }

    async fn run(on: impl Executor<'_, Database = sqlx::Postgres>, sql: &'static str) -> sqlx::Result<()> {
        on.execute(sqlx::raw_sql(sql)).await.map(drop)
    }

    /// The SQLSTATE with which the statement is refused.
    async fn refused(on: impl Executor<'_, Database = sqlx::Postgres>, sql: &'static str) -> String {
        match run(on, sql).await {
            Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
            other => panic!("{sql} was not refused: {other:?}"),
        }
    }

    macro_rules! rows {
        ($($name:ident($pool:ident) $body:block)+) => {
            $(
                #[dbtest_sqlx::test(migrations = false, require = "rollback")]
                async fn $name($pool: PgPool) -> Outcome {
                    run(&$pool, "CREATE TABLE t (id serial PRIMARY KEY, x int UNIQUE DEFERRABLE INITIALLY IMMEDIATE)").await?;
                    $body
                    Ok(())
                }
            )+
        };
    }

    const COUNT: &str = "SELECT count(*) FROM t";

    rows! {
        an_error_outside_a_transaction_spoils_nothing(pool) {
            run(&pool, "INSERT INTO t (x) VALUES (1)").await?;
            assert_eq!(refused(&pool, "INSERT INTO t (x) VALUES (1)").await, "23505");
            assert_eq!(refused(&pool, "SELECT 1 / 0").await, "22012");
            assert!(sqlx::query("INSERT INTO t (x) VALUES ($1)").bind(1).execute(&pool).await.is_err());
            run(&pool, "INSERT INTO t (x) VALUES (2)").await?;
            assert_eq!(value(&pool, COUNT).await?, "2");
        }

        transactions_in_raw_sql_work(pool) {
            let mut one = pool.acquire().await?;
            run(&mut *one, "BEGIN").await?;
            run(&mut *one, "INSERT INTO t (x) VALUES (1)").await?;
            run(&mut *one, "COMMIT").await?;
            run(&mut *one, "BEGIN").await?;
            run(&mut *one, "INSERT INTO t (x) VALUES (2)").await?;
            run(&mut *one, "ROLLBACK").await?;
            assert_eq!(value(&pool, COUNT).await?, "1");
        }

        several_statements_in_one_text_are_one_transaction(pool) {
            assert_eq!(refused(&pool, "INSERT INTO t (x) VALUES (1); SELECT 1 / 0").await, "22012");
            assert_eq!(value(&pool, COUNT).await?, "0");
            run(&pool, "INSERT INTO t (x) VALUES (1); COMMIT; INSERT INTO t (x) VALUES (2)").await?;
            assert_eq!(refused(&pool, "INSERT INTO t (x) VALUES (3); COMMIT; SELECT 1 / 0").await, "22012");
            assert_eq!(value(&pool, COUNT).await?, "3");
            let mut one = pool.acquire().await?;
            run(&mut *one, "INSERT INTO t (x) VALUES (4); BEGIN; INSERT INTO t (x) VALUES (5)").await?;
            run(&mut *one, "ROLLBACK").await?;
            assert_eq!(value(&pool, COUNT).await?, "3");
        }

        a_failed_transaction_refuses_all_but_its_end(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            assert_eq!(refused(&mut *tx, "SELECT 1 / 0").await, "22012");
            assert_eq!(refused(&mut *tx, "SELECT 1").await, "25P02");
            tx.rollback().await?;
            assert_eq!(value(&pool, COUNT).await?, "0");
        }

        savepoints_are_the_clients_own(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            let mut inner = tx.begin().await?;
            assert_eq!(refused(&mut *inner, "SELECT 1 / 0").await, "22012");
            inner.rollback().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (2)").await?;
            tx.commit().await?;
            assert_eq!(value(&pool, COUNT).await?, "2");
            assert_eq!(refused(&pool, "SAVEPOINT s").await, "25P01");
        }

        a_dropped_transaction_is_rolled_back(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            drop(tx);
            assert_eq!(value(&pool, COUNT).await?, "0");
        }

        isolation_levels_are_granted(pool) {
            for begin in [
                "BEGIN ISOLATION LEVEL SERIALIZABLE",
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE",
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE DEFERRABLE",
            ] {
                let mut tx = pool.begin_with(begin).await?;
                run(&mut *tx, "INSERT INTO t DEFAULT VALUES").await?;
                run(&mut *tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
                tx.commit().await?;
            }
            assert_eq!(value(&pool, COUNT).await?, "3");
        }

        the_level_that_a_transaction_reads_is_read_committed(pool) {
            let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
            assert_eq!(value(&mut *tx, "SHOW transaction_isolation").await?, "read committed");
        }

        a_read_only_transaction_refuses_to_write(pool) {
            let mut tx = pool.begin_with("BEGIN READ ONLY").await?;
            assert_eq!(value(&mut *tx, COUNT).await?, "0");
            assert_eq!(refused(&mut *tx, "INSERT INTO t (x) VALUES (1)").await, "25006");
            tx.rollback().await?;
            run(&pool, "INSERT INTO t (x) VALUES (1)").await?;
            let mut one = pool.acquire().await?;
            run(&mut *one, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").await?;
            assert_eq!(refused(&mut *one, "INSERT INTO t (x) VALUES (2)").await, "25006");
            run(&mut *one, "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").await?;
            run(&mut *one, "INSERT INTO t (x) VALUES (2)").await?;
        }

        deferred_constraints_are_checked_at_commit(pool) {
            run(&pool, "CREATE TABLE c (t int REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)").await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO c VALUES (7)").await?;
            run(&mut *tx, "INSERT INTO t (id) VALUES (7)").await?;
            tx.commit().await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO c VALUES (8)").await?;
            let error = tx.commit().await.expect_err("a child without a parent");
            assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("23503"));
            assert_eq!(refused(&pool, "INSERT INTO c VALUES (8)").await, "23503");
            assert_eq!(value(&pool, "SELECT count(*) FROM c").await?, "1");
        }

        set_constraints_works(pool) {
            run(&pool, "INSERT INTO t (x) VALUES (1), (2)").await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "SET CONSTRAINTS ALL DEFERRED").await?;
            run(&mut *tx, "UPDATE t SET x = 3 - x").await?;
            run(&mut *tx, "UPDATE t SET x = 1").await?;
            let error = run(&mut *tx, "SET CONSTRAINTS ALL IMMEDIATE").await.expect_err("two of a kind");
            assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("23505"));
        }

        settings_belong_to_their_connection(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            run(&mut *one, "SET application_name = 'one'; SET app.tenant = '1'").await?;
            run(&mut *two, "SET application_name = 'two'").await?;
            assert_eq!(value(&mut *one, "SHOW application_name").await?, "one");
            assert_eq!(value(&mut *two, "SHOW application_name").await?, "two");
            assert_eq!(value(&mut *two, "SELECT current_setting('app.tenant', true)").await?, "");
            assert_eq!(value(&mut *one, "SELECT current_setting('app.tenant', true)").await?, "1");
            run(&mut *one, "RESET app.tenant").await?;
            let mut tx = one.begin().await?;
            run(&mut *tx, "SET application_name = 'three'").await?;
            tx.rollback().await?;
            assert_eq!(value(&mut *one, "SHOW application_name").await?, "one");
            run(&mut *one, "DISCARD ALL").await?;
            assert_ne!(value(&mut *one, "SHOW application_name").await?, "one");
        }

        set_local_ends_with_its_transaction(pool) {
            let mut one = pool.acquire().await?;
            for set in ["SET LOCAL app.tenant = '7'", "SELECT set_config('app.tenant', '7', true)"] {
                let mut tx = one.begin().await?;
                run(&mut *tx, set).await?;
                assert_eq!(value(&mut *tx, "SELECT current_setting('app.tenant')").await?, "7");
                tx.commit().await?;
                assert_eq!(value(&mut *one, "SELECT current_setting('app.tenant', true)").await?, "");
            }
            let mut tx = one.begin().await?;
            sqlx::query("SELECT set_config($1, $2, true)").bind("app.tenant").bind("8").execute(&mut *tx).await?;
            tx.commit().await?;
            assert_eq!(value(&mut *one, "SELECT current_setting('app.tenant', true)").await?, "");
        }

        temporary_tables_end_with_their_transaction(pool) {
            // As jobs load their rows: the same name in one transaction after the other.
            let create = "CREATE TEMPORARY TABLE staging (x int) ON COMMIT DROP";
            for _ in 0..2 {
                for simple in [true, false] {
                    let mut tx = pool.begin().await?;
                    if simple {
                        run(&mut *tx, create).await?;
                    } else {
                        sqlx::query(create).execute(&mut *tx).await?;
                    }
                    sqlx::query("INSERT INTO staging VALUES (1), (2)").execute(&mut *tx).await?;
                    run(&mut *tx, "INSERT INTO t (x) SELECT count(*) + 1 FROM t, staging").await?;
                    tx.commit().await?;
                    assert_eq!(refused(&pool, "SELECT 1 FROM staging").await, "42P01");
                }
            }
            assert_eq!(value(&pool, COUNT).await?, "4");
            run(&pool, create).await?;
            assert_eq!(refused(&pool, "SELECT 1 FROM staging").await, "42P01");
            let mut tx = pool.begin().await?;
            run(&mut *tx, "SAVEPOINT s; CREATE TEMP TABLE staging (x int) ON COMMIT DROP; ROLLBACK TO s").await?;
            run(&mut *tx, "CREATE TEMP TABLE staging (x int)").await?;
            tx.commit().await?;
            assert_eq!(value(&pool, "SELECT count(*) FROM staging").await?, "0");
        }

        temporary_tables_are_emptied_by_a_commit(pool) {
            let mut one = pool.acquire().await?;
            let create = "CREATE TEMPORARY TABLE \"It's\" (x int PRIMARY KEY) ON COMMIT DELETE ROWS; \
                CREATE TEMPORARY TABLE refers (x int REFERENCES \"It's\") ON COMMIT DELETE ROWS";
            run(&mut *one, create).await?;
            for rollback in [true, false, false] {
                let mut tx = one.begin().await?;
                run(&mut *tx, "INSERT INTO \"It's\" VALUES (1); INSERT INTO refers VALUES (1)").await?;
                assert_eq!(value(&mut *tx, "SELECT count(*) FROM refers").await?, "1");
                if rollback {
                    tx.rollback().await?;
                } else {
                    tx.commit().await?;
                }
                assert_eq!(value(&mut *one, "SELECT count(*) FROM refers").await?, "0");
            }
            run(&mut *one, "DROP TABLE refers; BEGIN READ ONLY; COMMIT; INSERT INTO \"It's\" VALUES (2)").await?;
            assert_eq!(value(&mut *one, "SELECT count(*) FROM \"It's\"").await?, "0");
        }

        prepared_statements_belong_to_their_connection(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            run(&mut *one, "PREPARE p AS SELECT 1").await?;
            run(&mut *two, "PREPARE p AS SELECT 2").await?;
            assert_eq!(value(&mut *one, "EXECUTE p").await?, "1");
            assert_eq!(value(&mut *two, "EXECUTE p").await?, "2");
            run(&mut *one, "DEALLOCATE ALL").await?;
            assert_eq!(refused(&mut *one, "EXECUTE p").await, "26000");
            assert_eq!(value(&mut *two, "EXECUTE p").await?, "2");
        }

        cursors_work(pool) {
            run(&pool, "INSERT INTO t (x) VALUES (1), (2), (3)").await?;
            assert_eq!(refused(&pool, "DECLARE c CURSOR FOR SELECT x FROM t").await, "25P01");
            let mut one = pool.acquire().await?;
            for _ in 0..2 {
                let mut tx = one.begin().await?;
                run(&mut *tx, "DECLARE c CURSOR FOR SELECT x FROM t ORDER BY x").await?;
                assert_eq!(value(&mut *tx, "FETCH 1 FROM c").await?, "1");
                assert_eq!(value(&mut *tx, "FETCH 1 FROM c").await?, "2");
                tx.commit().await?;
                assert_eq!(refused(&mut *one, "FETCH 1 FROM c").await, "34000");
            }
            run(&mut *one, "DECLARE h CURSOR WITH HOLD FOR SELECT x FROM t ORDER BY x").await?;
            assert_eq!(value(&mut *one, "FETCH 1 FROM h").await?, "1");
        }

        copy_works_both_ways(pool) {
            let mut copy = pool.copy_in_raw("COPY t (x) FROM STDIN").await?;
            copy.send("1\n2\n".as_bytes()).await?;
            assert_eq!(copy.finish().await?, 2);
            let mut copy = pool.copy_in_raw("COPY t (x) FROM STDIN").await?;
            copy.send("1\nnot a number\n".as_bytes()).await?;
            assert!(copy.finish().await.is_err());
            let mut copy = pool.copy_in_raw("COPY t (x) FROM STDIN").await?;
            copy.send("9\n".as_bytes()).await?;
            copy.abort("changed our mind").await?;
            assert_eq!(value(&pool, "SELECT string_agg(x::text, ',' ORDER BY x) FROM t").await?, "1,2");
            let mut out = pool.copy_out_raw("COPY (SELECT x FROM t ORDER BY x) TO STDOUT").await?;
            let mut text = Vec::new();
            while let Some(bytes) = std::future::poll_fn(|cx| out.as_mut().poll_next(cx)).await {
                text.extend_from_slice(&bytes?);
            }
            assert_eq!(text, b"1\n2\n");
        }

        notifications_come_at_commit(pool) {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("jobs").await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "NOTIFY jobs, 'dropped'").await?;
            tx.rollback().await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "NOTIFY jobs, 'first'").await?;
            run(&mut *tx, "SAVEPOINT s; NOTIFY jobs, 'taken back'; ROLLBACK TO s").await?;
            sqlx::query("SELECT pg_notify($1, $2)").bind("jobs").bind("second").execute(&mut *tx).await?;
            tx.commit().await?;
            assert_eq!(listener.recv().await?.payload(), "first");
            assert_eq!(listener.recv().await?.payload(), "second");
        }

        schema_changes_are_transactional(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "ALTER TABLE t ADD COLUMN y int; CREATE INDEX i ON t (y); CREATE TYPE e AS ENUM ('a')").await?;
            tx.rollback().await?;
            assert_eq!(refused(&pool, "SELECT y FROM t").await, "42703");
        }

        a_statement_can_be_cancelled(pool) {
            let mut one = pool.acquire().await?;
            run(&mut *one, "SET statement_timeout = '50ms'").await?;
            assert_eq!(refused(&mut *one, "SELECT pg_sleep(600)").await, "57014");
            run(&mut *one, "INSERT INTO t (x) VALUES (1)").await?;
        }

        reads_start_no_transaction(pool) {
            // The table was made by now, and the sandbox's transaction begun; a new test tells.
            let _ = &pool;
            let db = dbtest_sqlx::Fixture::<SqlxPostgres>::new()
                .empty()
                .require(dbtest_sqlx::Strategy::Rollback)
                .open()
                .await?;
            let mut outside = PgConnection::connect(&db.database_url()).await?;
            let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name <> '' AND \
                        datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
            value(db.handle(), "SELECT count(*) FROM pg_class").await?;
            sqlx::query("SELECT 1").execute(db.handle()).await?;
            // Before 16 a read may write large objects, and needs it.
            let old = value(&mut outside, "SELECT current_setting('server_version_num')::int < 160000").await?;
            assert_eq!(value(&mut outside, open).await?, if old == "t" { "1" } else { "0" });
            // What looks like a read and writes is found out, and begins it.
            assert_eq!(value(db.handle(), "SELECT lo_create(0) > 0").await?, "t");
            run(db.handle(), "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT lo_create(0)::bigint'").await?;
            outside.close().await?;
            db.close().await?;
        }

        no_large_object_is_written_past_it(pool) {
            let _ = &pool;
            let function = "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT lo_create(0)::bigint'";
            let fixture = dbtest_sqlx::Fixture::<SqlxPostgres>::new()
                .sql("f.sql", function)
                .require(dbtest_sqlx::Strategy::Rollback);
            // By a read that does not show it, and by sessions that may not write, which servers before
            // 16 let write these all the same.
            for (read_only, write) in [(false, "SELECT f()"), (true, "SELECT f()"), (true, "SELECT lo_create(0)")] {
                let db = fixture.clone().open().await?;
                let mut outside = PgConnection::connect(&db.database_url()).await?;
                let mut one = db.handle().acquire().await?;
                if read_only {
                    run(&mut *one, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").await?;
                }
                let written = sqlx::query(write).execute(&mut *one).await;
                assert!(written.is_ok() || read_only, "{write}: {written:?}");
                let simple = run(&mut *one, write).await;
                assert!(simple.is_ok() || read_only, "{write}: {simple:?}");
                let objects = "SELECT count(*) FROM pg_largeobject_metadata";
                assert_eq!(value(&mut outside, objects).await?, "0", "{write}, read only: {read_only}");
                drop(one);
                outside.close().await?;
                db.close().await?;
            }
        }

        a_read_that_writes_late_is_refused(pool) {
            run(
                &pool,
                "CREATE FUNCTION late(n int, at int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN \
                 IF n = at THEN INSERT INTO t (x) VALUES (n); END IF; RETURN repeat('x', 100); END $$",
            )
            .await?;
            assert_eq!(refused(&pool, "SELECT late(n, 2000) FROM generate_series(1, 2000) n").await, "25006");
            // Nothing was handed on yet: it is run again as a write.
            run(&pool, "SELECT late(n, 200) FROM generate_series(1, 2000) n").await?;
            // In a transaction everything may write.
            let mut tx = pool.begin().await?;
            run(&mut *tx, "SELECT late(n, 2000) FROM generate_series(1, 2000) n").await?;
            tx.commit().await?;
            assert_eq!(value(&pool, COUNT).await?, "2");
        }

        a_text_whose_end_is_unclear_is_refused(pool) {
            let mut one = pool.acquire().await?;
            run(&mut *one, "SET standard_conforming_strings = off").await?;
            assert_eq!(refused(&mut *one, r"SELECT 'a\'; SELECT '; COMMIT; --'").await, "0A000");
            assert_eq!(value(&mut *one, r"SELECT 'a\\'").await?, r"a\");
            run(&mut *one, "INSERT INTO t (x) VALUES (1)").await?;
        }

        time_stands_still_after_the_first_write(pool) {
            let first = value(&pool, "SELECT now()").await?;
            assert_eq!(value(&pool, "SELECT now()").await?, first);
            assert_ne!(value(&pool, "SELECT clock_timestamp()").await?, first);
        }

        sequences_are_not_taken_back(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            tx.rollback().await?;
            run(&pool, "INSERT INTO t (x) VALUES (1)").await?;
            assert_eq!(value(&pool, "SELECT max(id) FROM t").await?, "2");
        }

        a_second_transaction_waits_for_the_first(pool) {
            let mut first = pool.begin().await?;
            run(&mut *first, "INSERT INTO t (x) VALUES (1)").await?;
            let second = async {
                let mut second = pool.begin().await?;
                let count = value(&mut *second, COUNT).await?;
                second.commit().await?;
                Ok::<_, sqlx::Error>(count)
            };
            let commit = async {
                tokio::task::yield_now().await;
                first.commit().await
            };
            let (second, commit) = tokio::join!(second, commit);
            commit?;
            assert_eq!(second?, "1");
        }

        waiting_that_cannot_end_is_an_error(pool) {
            let mut first = pool.begin().await?;
            run(&mut *first, "INSERT INTO t (x) VALUES (41)").await?;
            let error = run(&pool, "INSERT INTO t (x) VALUES (42)").await.expect_err("the first one is idle");
            let error = error.as_database_error().expect("of the database");
            assert_eq!(error.code().as_deref(), Some("40P01"));
            let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
            let detail = error.detail().unwrap_or_default();
            assert!(detail.contains("(41)") && detail.contains("(42)"), "{detail}");
            assert!(error.hint().unwrap_or_default().contains("\"template\""), "{error}");
            first.commit().await?;
            run(&pool, "INSERT INTO t (x) VALUES (42)").await?;
        }

        what_touches_no_data_does_not_wait(pool) {
            let mut first = pool.begin().await?;
            run(&mut *first, "INSERT INTO t (x) VALUES (1)").await?;
            let mut second = pool.acquire().await?;
            run(&mut *second, "SELECT 1").await?;
            run(&mut *second, "SET TIME ZONE 'UTC'").await?;
            second.ping().await?;
            assert_eq!(refused(&mut *second, "SELECT 1,").await, "42601");
            (&mut *second).prepare(sqlx::AssertSqlSafe(COUNT).into_sql_str()).await?;
            run(&mut *first, "INSERT INTO t (x) VALUES (2)").await?;
            first.commit().await?;
            assert_eq!(value(&mut *second, COUNT).await?, "2");
        }

        locked_rows_are_never_skipped(pool) {
            run(&pool, "INSERT INTO t (x) VALUES (1)").await?;
            let mut first = pool.begin().await?;
            assert_eq!(value(&mut *first, "SELECT x FROM t FOR UPDATE").await?, "1");
            let skip = async { value(&pool, "SELECT x FROM t FOR UPDATE SKIP LOCKED").await };
            let commit = async {
                tokio::task::yield_now().await;
                first.commit().await
            };
            let (skipped, commit) = tokio::join!(skip, commit);
            commit?;
            assert_eq!(skipped?, "1");
        }

        advisory_locks_are_shared(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            assert_eq!(value(&mut *one, "SELECT pg_try_advisory_lock(1)").await?, "t");
            assert_eq!(value(&mut *two, "SELECT pg_try_advisory_lock(1)").await?, "t");
        }

        temporary_tables_are_shared(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            run(&mut *one, "CREATE TEMPORARY TABLE temp (x int)").await?;
            assert_eq!(value(&mut *two, "SELECT count(*) FROM temp").await?, "0");
        }

        a_level_is_granted_after_a_query(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "SELECT 1").await?;
            run(&mut *tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
            tx.commit().await?;
        }

        a_connection_without_a_name_has_the_sandboxs(pool) {
            let mut one = pool.acquire().await?;
            run(&mut *one, "RESET application_name").await?;
            assert_eq!(value(&mut *one, "SHOW application_name").await?, "dbtest sandbox");
            run(&mut *one, "SET application_name = 'mine'").await?;
            assert_eq!(value(&mut *one, "SHOW application_name").await?, "mine");
        }

        held_cursors_are_shared(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            run(&mut *one, "DECLARE h CURSOR WITH HOLD FOR SELECT 1").await?;
            assert_eq!(refused(&mut *two, "DECLARE h CURSOR WITH HOLD FOR SELECT 2").await, "42P03");
            assert_eq!(value(&mut *two, "FETCH 1 FROM h").await?, "1");
            run(&mut *one, "DECLARE of_t CURSOR WITH HOLD FOR SELECT * FROM t").await?;
            assert_eq!(refused(&mut *one, "ALTER TABLE t ADD y int").await, "55006");
        }

        lock_table_needs_no_transaction(pool) {
            run(&pool, "LOCK TABLE t").await?;
        }

        the_view_of_prepared_statements_shows_all(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            run(&mut *one, "PREPARE mine AS SELECT 1").await?;
            let names = "SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE statement LIKE '%SELECT 1'";
            let shown = value(&mut *two, names).await?;
            assert!(shown.starts_with("dbtest_") && !shown.contains("mine"), "{shown}");
        }

        an_error_of_the_simple_protocol_does_not_reach_the_extended_one(pool) {
            let mut one = pool.acquire().await?;
            assert_eq!(refused(&mut *one, "SELECT 1 / 0").await, "22012");
            sqlx::query("INSERT INTO t (x) VALUES ($1)").bind(1).execute(&mut *one).await?;
            let count: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *one).await?;
            assert_eq!(count, 1);
        }

        all_connections_have_one_server_process(pool) {
            let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
            let pid = "SELECT pg_backend_pid()";
            assert_eq!(value(&mut *one, pid).await?, value(&mut *two, pid).await?);
        }

        notifications_of_functions_come_at_commit(pool) {
            run(&pool, "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_notify('jobs', 'job ' || NEW.x); RETURN NEW; END $$;
                CREATE TRIGGER f AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()").await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("jobs").await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            tx.rollback().await?;
            sqlx::query("INSERT INTO t (x) VALUES ($1)").bind(2).execute(&pool).await?;
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (3)").await?;
            tx.commit().await?;
            assert_eq!(listener.recv().await?.payload(), "job 2");
            assert_eq!(listener.recv().await?.payload(), "job 3");
        }

        the_statement_notify_inside_functions_is_not_delivered(pool) {
            run(&pool, "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ NOTIFY jobs, 'inner' $$;
                CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_notify('jobs', 'caught'); PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END $$").await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("jobs").await?;
            run(&pool, "SELECT f()").await?;
            run(&pool, "SELECT g()").await?;
            run(&pool, "NOTIFY jobs, 'outer'").await?;
            assert_eq!(listener.recv().await?.payload(), "caught");
            assert_eq!(listener.recv().await?.payload(), "outer");
        }

        what_cannot_run_in_a_transaction_is_refused(pool) {
            for sql in [
                "CREATE INDEX CONCURRENTLY i ON t (x)",
                "VACUUM t",
                "CREATE DATABASE dbtest_never",
                "ALTER SYSTEM SET work_mem = '4MB'",
            ] {
                assert_eq!(refused(&pool, sql).await, "25001", "{sql}");
            }
            let error = run(&pool, "VACUUM t").await.expect_err("refused");
            let error = error.as_database_error().expect("of the database");
            let hint = error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().unwrap_or_default();
            assert!(hint.contains("use the strategy \"template\""), "{hint}");
        }

        a_procedure_that_commits_is_refused(pool) {
            run(&pool, "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t (x) VALUES (1); COMMIT; END $$").await?;
            assert_eq!(refused(&pool, "CALL p()").await, "2D000");
            assert_eq!(refused(&pool, "DO $$ BEGIN COMMIT; END $$").await, "2D000");
            assert_eq!(value(&pool, COUNT).await?, "0");
        }

        a_prepared_commit_is_not_executed_by_name(pool) {
            let mut one = pool.acquire().await?;
            sqlx::query("COMMIT").execute(&mut *one).await?;
            run(&mut *one, "INSERT INTO t (x) VALUES (1)").await?;
            // As sqlx names the first that it prepares.
            assert_eq!(refused(&mut *one, "EXECUTE sqlx_s_1").await, "0A000");
            assert_eq!(value(&mut *one, COUNT).await?, "1");
        }

        two_phase_commit_is_refused(pool) {
            let mut tx = pool.begin().await?;
            run(&mut *tx, "INSERT INTO t (x) VALUES (1)").await?;
            assert_eq!(refused(&mut *tx, "PREPARE TRANSACTION 'x'").await, "0A000");
            tx.rollback().await?;
            assert_eq!(refused(&pool, "COMMIT PREPARED 'x'").await, "0A000");
            assert_eq!(refused(&pool, "ROLLBACK PREPARED 'x'").await, "0A000");
        }

        an_exported_snapshot_is_refused(pool) {
            let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
            assert_eq!(refused(&mut *tx, "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'").await, "0A000");
        }
    }

    #[dbtest_sqlx::test(migrations = false, require = "rollback")]
    async fn the_url_leads_into_the_transaction(db: TestDb<SqlxPostgres>) -> Outcome {
        run(db.handle(), "CREATE TABLE t (x int)").await?;
        let mut other = PgConnection::connect(db.url()).await?;
        run(&mut other, "INSERT INTO t VALUES (1)").await?;
        other.close().await?;
        assert_eq!(value(db.handle(), COUNT).await?, "1");
        let mut outside = PgConnection::connect(&db.database_url()).await?;
        assert_eq!(refused(&mut outside, "SELECT * FROM t").await, "42P01");
        outside.close().await?;
        Ok(())
    }

    #[dbtest_sqlx::test(migrations = false, require = "rollback")]
    async fn only_the_tests_own_credentials_are_taken(db: TestDb<SqlxPostgres>) -> Outcome {
        let (head, query) = db.url().split_once('?').ok_or("a URL with parameters")?;
        let (user, place) = head.rsplit_once('@').ok_or("a URL with a user")?;
        let (name, _) = user.rsplit_once(':').ok_or("a URL with a password")?;
        for wrong in [format!("{name}:wrong@{place}"), format!("{name}@{place}"), format!("{head}_other")] {
            let error =
                PgConnection::connect(&format!("{wrong}?{query}")).await.map(drop).expect_err("not ours");
            let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
            assert!(matches!(code.as_deref(), Some("28P01" | "3D000")), "{error}");
        }
        Ok(())
    }

    #[dbtest_sqlx::test(migrations = false, require = "rollback")]
    async fn two_sandboxes_of_a_test_are_apart(
        one: TestDb<SqlxPostgres>,
        two: TestDb<SqlxPostgres>,
    ) -> Outcome {
        run(one.handle(), "CREATE TABLE t (x int)").await?;
        assert_eq!(refused(two.handle(), "SELECT * FROM t").await, "42P01");
        Ok(())
    }

    #[dbtest_sqlx::test(migrations = false, require = "rollback")]
    async fn a_startup_option_is_not_seen_between_its_reset_and_the_commit(
        db: TestDb<SqlxPostgres>,
    ) -> Outcome {
        let url = format!("{}&options=-c%20statement_timeout%3D1h", db.url());
        let mut one = PgConnection::connect(&url).await?;
        run(&mut one, "BEGIN; RESET statement_timeout").await?;
        assert_eq!(value(&mut one, "SHOW statement_timeout").await?, "0");
        run(&mut one, "COMMIT").await?;
        assert_eq!(value(&mut one, "SHOW statement_timeout").await?, "1h");
        one.close().await?;
        Ok(())
    }

    #[dbtest_sqlx::test(migrations = false, require = "rollback")]
    async fn startup_options_are_taken(db: TestDb<SqlxPostgres>) -> Outcome {
        let url = format!("{}&options=-c%20statement_timeout%3D1h", db.url());
        let mut one = PgConnection::connect(&url).await?;
        assert_eq!(value(&mut one, "SHOW statement_timeout").await?, "1h");
        for sql in [
            "SET statement_timeout = 0; RESET statement_timeout",
            "BEGIN; SET statement_timeout TO DEFAULT; COMMIT",
            "BEGIN; RESET statement_timeout; SAVEPOINT s; SET work_mem = '1MB'; RELEASE s; COMMIT",
            "SET statement_timeout = 0; RESET ALL",
        ] {
            run(&mut one, sql).await?;
            assert_eq!(value(&mut one, "SHOW statement_timeout").await?, "1h", "{sql}");
        }
        run(&mut one, "BEGIN; SET statement_timeout = 0; SAVEPOINT s; RESET statement_timeout").await?;
        run(&mut one, "ROLLBACK TO s; COMMIT").await?;
        assert_eq!(value(&mut one, "SHOW statement_timeout").await?, "0");
        one.close().await?;
        Ok(())
    }

    #[test]
    fn the_page_names_a_test_for_each_row() {
        let page = include_str!("../../../docs/src/sandbox.md");
        let (page, _) = page.split_once("## What it costs").expect("the costs, which have other tables");
        let tests = include_str!("sandbox.rs");
        let mut rows = 0;
        for row in page.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
            let Some(test) = row.trim_end_matches([' ', '|']).rsplit('`').nth(1) else {
                assert!(row.ends_with("| test |"), "a row without a test: {row}");
                continue;
            };
            let found = [format!("        {test}(pool)"), format!("async fn {test}(")];
            assert!(found.iter().any(|name| tests.contains(name)), "there is no test {test}: {row}");
            rows += 1;
        }
        assert!(rows > 30, "{rows} rows");
    }
}
