//! The real program, on a real server of each engine that real test processes worked on.

mod home;
mod scenario;

/// Each on a server of its own, which its tests may clean without hurting others.
mod sqlite {
    #[tokio::test]
    async fn what_tests_left_is_seen_opened_and_cleaned() {
        super::scenario::run::<dbtest_sqlx::SqlxSqlite>("sqlite").await;
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
