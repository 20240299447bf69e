//! What a field is of which nothing was said, for every type that has a default: the database takes it, and
//! gives it back as it was.

mod event {
    use dbtest_factory::Factory;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Factory)]
    #[sea_orm(table_name = "event")]
    #[factory(seaorm)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
        pub done: bool,
        pub small: i16,
        pub middle: i32,
        pub real: f64,
        pub note: Option<String>,
        pub utc: DateTimeUtc,
        pub local: DateTimeLocal,
        pub offset: DateTimeWithTimeZone,
        pub naive: DateTime,
        pub date: Date,
        pub time: Time,
        pub time_offset: TimeDateTimeWithTimeZone,
        pub time_naive: TimeDateTime,
        pub time_date: TimeDate,
        pub time_time: TimeTime,
        pub uuid: Uuid,
        pub json: Json,
        pub decimal: Decimal,
        pub big: BigDecimal,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

macro_rules! on {
    ($engine:ident, $backend:ident) => {
        mod $engine {
            use dbtest_seaorm::{Db, Fixture, $backend};
            use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder, Schema};

            use super::event;

            /// The table as SeaORM itself makes it of the entity.
            fn events() -> Fixture<$backend> {
                Fixture::new().seed(|db: sea_orm::DatabaseConnection| async move {
                    let table =
                        Schema::new(db.get_database_backend()).create_table_from_entity(event::Entity);
                    db.execute(&table).await.map(drop)
                })
            }

            #[dbtest_seaorm::test(fixture = events)]
            async fn a_type_with_a_default_is_stored_as_it_is(Db(db): Db<$backend>) {
                let events = event::Model::factory().create_many(3, &db).await.expect("events");
                let stored =
                    event::Entity::find().order_by_asc(event::Column::Id).all(&db).await.expect("events");
                assert_eq!(events, stored);
                let second = &events[1];
                assert_eq!((second.title.as_str(), second.small, second.real), ("title 2", 2, 2.0));
                assert_eq!((second.done, &second.note), (false, &None));
                assert_eq!(second.utc.to_rfc3339(), "2000-01-01T00:00:02+00:00");
                assert!(second.local == second.utc && second.offset == second.utc);
                assert_eq!(second.naive, second.utc.naive_utc());
                assert_eq!(
                    (second.date.to_string(), second.time.to_string()),
                    ("2000-01-03".into(), "00:00:02".into())
                );
                assert_eq!(second.time_offset.unix_timestamp(), second.utc.timestamp());
                assert_eq!(second.time_naive.to_string(), "2000-01-01 0:00:02.0");
                assert_eq!(
                    (second.time_date.to_string(), second.time_time.to_string()),
                    ("2000-01-03".into(), "0:00:02.0".into())
                );
                assert_eq!((second.decimal.to_string(), second.big.to_string()), ("2".into(), "2".into()));
                assert_eq!(second.json.to_string(), "{}");
                assert_ne!(second.uuid, events[2].uuid);
                assert_eq!(second.uuid.get_version_num(), 4);
            }
        }
    };
}

on!(sqlite, SeaOrmSqlite);
on!(postgres, SeaOrmPostgres);
on!(mysql, SeaOrmMySql);
