#![doc = include_str!("../README.md")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// The variable that sets the seed of every test of a run.
pub const VARIABLE: &str = "DBTEST_SEED";

/// The seed of one test, and how far its sequences have come. Clones are the same seed.
#[derive(Clone, Debug)]
pub struct Seed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    test: String,
    value: u64,
    counters: Mutex<HashMap<&'static str, u64>>,
    used: AtomicBool,
    /// What its sequences begin behind.
    before: u64,
    /// Somebody enters and leaves it, and says it when the test fails.
    scoped: bool,
}

thread_local! {
    static ENTERED: RefCell<Vec<Seed>> = const { RefCell::new(Vec::new()) };
    static OWN: RefCell<Option<Seed>> = const { RefCell::new(None) };
}

impl Seed {
    /// The seed of the test of this name: `DBTEST_SEED` where that is set, else made of the name.
    /// It is the same on every platform.
    ///
    /// # Panics
    /// `DBTEST_SEED` is set to something that is no number.
    pub fn of(test: &str) -> Self {
        Self::made(test, true)
    }

    fn made(test: &str, scoped: bool) -> Self {
        let set = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        let value = match set.map(|text| parse(&text)) {
            None => hash(&[test.as_bytes()]),
            Some(Ok(value)) => value,
            Some(Err(why)) => panic!("{why}"),
        };
        Self::with(test, value, 0, scoped)
    }

    fn with(test: &str, value: u64, before: u64, scoped: bool) -> Self {
        let (counters, used) = Default::default();
        Self(Arc::new(Inner { test: test.to_owned(), value, counters, used, before, scoped }))
    }

    /// The seed of what is made once for all tests. `DBTEST_SEED` does not change it, and its
    /// sequences begin at 1000001: the rows of a test never meet those that were there before.
    pub fn of_setup() -> Self {
        let name = "the setup";
        Self::with(name, hash(&[name.as_bytes()]), 1_000_000, true)
    }

    /// The seed of the test that runs on this thread: the one that was entered last and not left,
    /// else one made of the thread's name, which the test harness sets to the test's.
    ///
    /// # Panics
    /// `DBTEST_SEED` is set to something that is no number.
    pub fn current() -> Self {
        if let Some(entered) = ENTERED.with_borrow(|entered| entered.last().cloned()) {
            return entered;
        }
        OWN.with_borrow_mut(|own| own.get_or_insert_with(of_the_thread).clone())
    }

    /// Makes it the current seed of this thread until the guard is dropped.
    pub fn enter(&self) -> Entered {
        ENTERED.with_borrow_mut(|entered| entered.push(self.clone()));
        Entered(PhantomData)
    }

    /// A future in which it is the current seed, on whatever thread it runs.
    pub fn within<F>(&self, make: impl FnOnce() -> F) -> impl Future<Output = F::Output>
    where
        F: Future + Unpin,
    {
        let mut future = {
            let _entered = self.enter();
            make()
        };
        std::future::poll_fn(move |context| {
            let _entered = self.enter();
            std::pin::Pin::new(&mut future).poll(context)
        })
    }

    /// The number that all random values come from.
    pub fn value(&self) -> u64 {
        self.0.used.store(true, Ordering::Relaxed);
        self.0.value
    }

    /// The test's name.
    pub fn test(&self) -> &str {
        &self.0.test
    }

    /// The next number of the sequence of this name in this test: 1, 2, 3, ….
    pub fn next(&self, sequence: &'static str) -> u64 {
        self.0.used.store(true, Ordering::Relaxed);
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counters.entry(sequence).or_insert(self.0.before);
        *counter += 1;
        *counter
    }

    /// How to get the same values again, if any were drawn. For whoever reports a failure.
    pub fn told(&self) -> Option<String> {
        let name = self.0.test.rsplit("::").next().unwrap_or_default();
        self.0.used.load(Ordering::Relaxed).then(|| {
            format!(
                "dbtest: the random values of {} came from the seed {value}; for the same ones again:\n  \
                 {VARIABLE}={value} cargo test {name}",
                self.0.test,
                value = self.0.value,
            )
        })
    }
}

/// Leaves the seed when it is dropped, on the thread that entered it.
#[derive(Debug)]
#[must_use = "the seed is left when this is dropped"]
pub struct Entered(PhantomData<*const ()>);

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(Vec::pop);
    }
}

/// A number, as `DBTEST_SEED` may be.
///
/// # Errors
/// A sentence that says what it has to be.
pub fn parse(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "the environment variable {VARIABLE} is {text:?}, which dbtest cannot use\n  \
             next step: set it to a number below 2^64, or unset it"
        )
    })
}

/// A number made of these parts, none of which can run into the next. The same everywhere and
/// for ever: what was drawn with it is written into tests.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let mut byte = |byte: u8| state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut byte);
        part.iter().copied().for_each(&mut byte);
    }
    // FNV's low bits hardly depend on the last bytes; this spreads them.
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// For a test without a runner that enters a seed: it is said in the panic.
fn of_the_thread() -> Seed {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone()));
            if let Some(told) = own.ok().flatten().filter(|own| !own.0.scoped).and_then(|own| own.told()) {
                eprintln!("{told}");
            }
        }));
    });
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main").map(str::to_owned);
    // With one test at a time the harness runs it on its own thread, and only nextest says which.
    let name = name.or_else(|| std::env::var("NEXTEST_TEST_NAME").ok());
    Seed::made(name.as_deref().unwrap_or("main"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_everywhere() {
        assert_eq!(hash(&[b"books::a_book_has_an_author"]), 0x4706_eb93_1312_8d57);
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }

    #[test]
    fn a_thread_without_a_runner_has_the_seed_of_its_name() {
        let of = |name: &str| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(|| Seed::current().value()).expect("a thread").join().expect("its seed")
        };
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
    }

    #[test]
    fn the_seed_that_was_entered_last_is_the_current_one() {
        let (outer, inner) = (Seed::of("outer"), Seed::of("inner"));
        let _outer = outer.enter();
        {
            let _inner = inner.enter();
            assert_eq!(Seed::current().test(), "inner");
        }
        assert_eq!(Seed::current().test(), "outer");
    }

    #[test]
    fn a_seed_that_gave_nothing_is_not_told() {
        let seed = Seed::of("quiet");
        assert_eq!(seed.told(), None);
        let value = seed.value();
        assert!(
            seed.told().is_some_and(|told| told.contains(&format!("DBTEST_SEED={value} cargo test quiet")))
        );
    }

    #[test]
    fn a_seed_that_is_no_number_is_named() {
        assert_eq!(parse(" 7 "), Ok(7));
        assert!(parse("seven").is_err_and(|why| why.contains("DBTEST_SEED") && why.contains("seven")));
    }
}
