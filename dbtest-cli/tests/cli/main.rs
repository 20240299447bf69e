//! The real program, on a real server of each engine that real test processes worked on.

mod home;
mod scenario;

/// Each on a server of its own, which its tests may clean without hurting others.
mod sqlite {
    #[tokio::test]
    async fn what_tests_left_is_seen_opened_and_cleaned() {
        super::scenario::run::<dbtest_sqlx::SqlxSqlite>("sqlite").await;
    }

    /// What the bench of `usage` runs.
    mod measured {
        use crate::home::CHILD;
        use crate::scenario;

        #[tokio::test]
        async fn under_all() {
            if std::env::var_os(CHILD).is_some_and(|what| what == "measure") {
                scenario::write::<dbtest_sqlx::SqlxSqlite>().await;
            }
        }

        #[tokio::test]
        async fn not_under_rollback() {
            if std::env::var_os(CHILD).is_some_and(|what| what == "measure") {
                scenario::look_from_outside::<dbtest_sqlx::SqlxSqlite>().await;
            }
        }
    }
}

mod postgres {
    #[tokio::test]
    async fn what_tests_left_is_seen_opened_and_cleaned() {
        super::scenario::run::<dbtest_sqlx::SqlxPostgres>("postgres").await;
    }
}

mod mysql {
    #[tokio::test]
    async fn what_tests_left_is_seen_opened_and_cleaned() {
        super::scenario::run::<dbtest_sqlx::SqlxMySql>("mysql").await;
    }
}

mod usage {
    use crate::home::Home;

    #[test]
    fn where_nothing_was_ever_made_looking_makes_nothing() {
        let home = Home::new();
        let status = home.cli(&["status", "--json"]);
        assert_eq!(status.code, 0, "{status:?}");
        assert_eq!(status.json()["servers"], serde_json::json!([]));
        assert_eq!(home.cli(&["shell"]).code, 3);
        assert_eq!(std::fs::read_dir(home.folder()).expect("the folder").count(), 0);
    }

    #[test]
    fn the_doctor_says_what_a_test_would_have_and_what_to_do_where_that_is_nothing() {
        let home = Home::new();
        let sqlite = home.cli(&["doctor", "sqlite", "--json"]);
        assert_eq!(sqlite.code, 0, "{sqlite:?}");
        let folder = home.folder().join("sqlite").display().to_string();
        assert_eq!(sqlite.json()["engines"][0]["server"], folder);
        let nowhere =
            [("DBTEST_POSTGRES_URL", "postgres://me:secret@127.0.0.1:1/app"), ("DBTEST_SERVER", "url")];
        let said = home.cli_with(&["doctor", "postgres"], &nowhere);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stdout.contains("DBTEST_POSTGRES_URL") && said.stdout.contains("next step"), "{said:?}");
        assert!(!said.stdout.contains("secret") && !said.stderr.contains("secret"), "{said:?}");
        let unset = home.cli_with(&["doctor", "mysql", "--json"], &[("DBTEST_SERVER", "url")]);
        assert_eq!(unset.code, 1, "{unset:?}");
        assert!(unset.json()["engines"][0]["server"].is_null(), "{unset:?}");
        assert_eq!(home.cli_with(&["doctor"], &[("DBTEST_SERVER", "magic")]).code, 1);
        assert_eq!(std::fs::read_dir(home.folder()).expect("the folder").count(), 0, "looking makes nothing");
    }

    #[test]
    fn the_bench_runs_each_strategy_and_names_what_fails_under_one() {
        let (home, exe) = (Home::new(), std::env::current_exe().expect("this executable"));
        let exe = exe.display().to_string();
        let missing = home.cli(&["report"]);
        assert!(missing.code == 3 && missing.stderr.contains("DBTEST_REPORT=1"), "{missing:?}");
        let strategies =
            ["bench", "--json", "--rounds=2", "--strategy=rollback", "--strategy=truncate", "--"];
        let tests =
            [exe.as_str(), "--exact", "sqlite::measured::under_all", "sqlite::measured::not_under_rollback"];
        let args: Vec<_> = strategies.into_iter().chain(tests).collect();
        let said = home.cli_with(&args, &[(crate::home::CHILD, "measure")]);
        assert_eq!(said.code, 0, "{said:?}");
        let json = said.json();
        let by = |word: &str| {
            let all = json["strategies"].as_array().expect("strategies");
            all.iter().find(|one| one["strategy"] == word).cloned().expect("the strategy")
        };
        assert_eq!((&by("truncate")["passed"], &by("truncate")["databases"]), (&2.into(), &4.into()));
        assert_eq!(by("rollback")["passed"], 1);
        assert_eq!(by("rollback")["failed"][0], "sqlite::measured::not_under_rollback");
        assert_eq!(json["fails_under"]["sqlite::measured::not_under_rollback"][0], "rollback");
        assert_eq!(json["recommended"], "truncate");
        let report = home.cli(&["report", "--json"]).json();
        assert_eq!(
            (&report["processes"], &report["tests"]),
            (&1.into(), &2.into()),
            "the latest run: {report}"
        );
        let phases: Vec<_> =
            report["phases"].as_array().expect("phases").iter().map(|one| &one["phase"]).collect();
        assert!(phases.contains(&&"lease".into()) && phases.contains(&&"connect".into()), "{phases:?}");
        assert!(
            said.stderr.contains("sqlite::measured::not_under_rollback\n"),
            "the command as it was given: {said:?}"
        );
        let by_itself = home.cli(&["bench", "--rounds=1"]);
        assert!(
            by_itself.code == 1 && by_itself.stderr.contains("cargo test --no-fail-fast\n"),
            "{by_itself:?}"
        );
        let nobody = home.cli(&["bench", "--rounds=1", "--", "true"]);
        assert!(nobody.code == 1 && nobody.stderr.contains("had a database"), "{nobody:?}");
    }

    #[test]
    fn cargos_own_word_is_taken_and_a_wrong_one_is_usage() {
        let home = Home::new();
        assert_eq!(home.cli(&["dbtest", "status"]).code, 0);
        assert_eq!(home.cli(&["stats"]).code, 2);
        assert!(home.cli(&["--help"]).stdout.contains("Exit codes"));
    }

    #[test]
    fn a_server_that_is_no_test_server_is_refused_and_told_without_its_password() {
        let home = Home::new();
        let set =
            [("DBTEST_POSTGRES_URL", "postgres://me:secret@db.example.com/app"), ("DBTEST_SERVER", "url")];
        let status = home.cli_with(&["status", "--json"], &set);
        assert_eq!(status.code, 1, "{status:?}");
        let problems = status.json()["problems"].to_string();
        assert!(problems.contains("DBTEST_ALLOW_HOST=db.example.com"), "{problems}");
        assert!(!status.stdout.contains("secret") && !status.stderr.contains("secret"), "{status:?}");
    }
}
