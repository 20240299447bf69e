//! Where the values of one row come from: its number, and random values of the test's seed.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use dbtest_seed::{Seed, hash};

/// The random numbers of one row: the same for the same seed, factory and number, on every
/// platform.
pub type Rng = ChaCha8Rng;

#[doc(hidden)]
#[derive(Debug)]
pub struct Draw {
    n: u64,
    name: &'static str,
    seed: Seed,
    rng: Option<Rng>,
}

impl Draw {
    /// The next row of this factory in this test. The path tells factories of one name apart.
    pub fn next(path: &'static str, name: &'static str) -> Self {
        let seed = Seed::current();
        Self { n: seed.next(path), name, seed, rng: None }
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    /// Of the row alone: what other factories drew before changes nothing.
    pub fn rng(&mut self) -> &mut Rng {
        let (seed, name, n) = (&self.seed, self.name, self.n);
        self.rng.get_or_insert_with(|| {
            let row = hash(&[&seed.value().to_le_bytes(), name.as_bytes(), &n.to_le_bytes()]);
            Rng::seed_from_u64(row)
        })
    }

    /// A word that no other row of any test has, whatever the seed.
    pub fn unique(&self) -> String {
        let parts: [&[u8]; 4] = [
            &self.seed.value().to_le_bytes(),
            self.seed.test().as_bytes(),
            self.name.as_bytes(),
            &self.n.to_le_bytes(),
        ];
        let mut left = hash(&parts);
        let digits = b"0123456789abcdefghjkmnpqrstvwxyz";
        let word = (0..13).map(|_| {
            let digit = digits[(left % 32) as usize];
            left /= 32;
            char::from(digit)
        });
        word.collect()
    }
}

#[doc(hidden)]
pub fn sequence<T>(value: impl FnOnce(u64) -> T, n: u64) -> T {
    value(n)
}
