//! The default of a field that has none of its own.

use crate::draw::Rng;

/// A type that has a value for a field of which nothing was said.
///
/// Numbers and text are the row's number, so that they are unique within a test: `title 1`,
/// `title 2`. An `Option` is `None`, a list is empty, a `bool` is false, a time is a second of the
/// year 2000 that the row's number says. Types of other crates have theirs with the feature of that
/// name: `chrono`, `time`, `uuid`, `rust_decimal`, `bigdecimal`, and `json` for `serde_json::Value`.
#[diagnostic::on_unimplemented(
    message = "a field of the type `{Self}` needs a default, and this type has none of its own",
    label = "what should a factory write here?",
    note = "write `#[factory(default = …)]` on the field, or `#[factory(required)]` if every test should give it",
    note = "the types of these crates have one with dbtest-factory's feature of the same name: chrono, time, uuid, \
            rust_decimal, bigdecimal; those of serde_json with `json`",
    note = "for a type of your own you can implement `dbtest_factory::Sample`"
)]
pub trait Sample {
    /// The value for the `n`th row of this test.
    fn sample(field: &str, n: u64, rng: &mut Rng) -> Self;
}

impl Sample for String {
    fn sample(field: &str, n: u64, _: &mut Rng) -> Self {
        format!("{field} {n}")
    }
}

impl Sample for bool {
    fn sample(_: &str, _: u64, _: &mut Rng) -> Self {
        false
    }
}

impl<T> Sample for Option<T> {
    fn sample(_: &str, _: u64, _: &mut Rng) -> Self {
        None
    }
}

impl<T> Sample for Vec<T> {
    fn sample(_: &str, _: u64, _: &mut Rng) -> Self {
        Self::new()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Sample for $number {
            fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
                // Past the end it starts again.
                (n % (<$number>::MAX as u64)) as $number
            }
        }
    )* };
}

numbers!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Sample for f32 {
    fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
        n as Self
    }
}

impl Sample for f64 {
    fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
        n as Self
    }
}

/// 2000-01-01 00:00:00 in seconds since 1970: whole seconds, since every database has those as they are.
#[cfg(any(feature = "chrono", feature = "time"))]
const START: i64 = 946_684_800;

/// The second of the `n`th row.
#[cfg(any(feature = "chrono", feature = "time"))]
fn second(n: u64) -> i64 {
    START + (n % u64::from(u32::MAX)) as i64
}

#[cfg(feature = "chrono")]
mod chrono_types {
    use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

    use super::{Rng, START, Sample, second};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap_or_default()
    }

    impl<Tz: TimeZone> Sample for DateTime<Tz>
    where
        Self: From<DateTime<Utc>>,
    {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            at(second(n)).into()
        }
    }

    impl Sample for NaiveDateTime {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            at(second(n)).naive_utc()
        }
    }

    impl Sample for NaiveDate {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            let start = at(START).date_naive();
            start.checked_add_days(Days::new(n % 100_000)).unwrap_or(start)
        }
    }

    impl Sample for NaiveTime {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            Self::from_num_seconds_from_midnight_opt((n % 86_400) as u32, 0).unwrap_or_default()
        }
    }
}

#[cfg(feature = "time")]
mod time_types {
    use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time};

    use super::{Rng, START, Sample, second};

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    impl Sample for OffsetDateTime {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            at(second(n))
        }
    }

    impl Sample for PrimitiveDateTime {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            let at = at(second(n));
            Self::new(at.date(), at.time())
        }
    }

    impl Sample for Date {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            at(START).date().saturating_add(Duration::days((n % 100_000) as i64))
        }
    }

    impl Sample for Time {
        fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
            Self::MIDNIGHT + Duration::seconds((n % 86_400) as i64)
        }
    }
}

#[cfg(feature = "rust_decimal")]
impl Sample for rust_decimal::Decimal {
    fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
        Self::from(n)
    }
}

#[cfg(feature = "bigdecimal")]
impl Sample for bigdecimal::BigDecimal {
    fn sample(_: &str, n: u64, _: &mut Rng) -> Self {
        Self::from(n)
    }
}

#[cfg(feature = "uuid")]
impl Sample for uuid::Uuid {
    fn sample(_: &str, _: u64, rng: &mut Rng) -> Self {
        use chacha20::rand_core::Rng as _;
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[cfg(feature = "json")]
impl Sample for serde_json::Value {
    fn sample(_: &str, _: u64, _: &mut Rng) -> Self {
        Self::Object(serde_json::Map::new())
    }
}
