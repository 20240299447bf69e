//! Where the values of one row come from: its number, and random values of the test's seed.

use std::convert::Infallible;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng as _, SeedableRng, TryRng};
use dbtest_seed::{Seed, hash};

/// The random numbers of one row: the same for the same seed, factory and number, on every
/// platform. Of the row alone: what other factories drew before changes nothing.
#[derive(Debug)]
pub struct Rng {
    seed: Seed,
    name: &'static str,
    n: u64,
    /// Most rows draw none.
    begun: Option<ChaCha8Rng>,
}

impl Rng {
    fn begun(&mut self) -> &mut ChaCha8Rng {
        let (seed, name, n) = (&self.seed, self.name, self.n);
        self.begun.get_or_insert_with(|| {
            let row = hash(&[&seed.value().to_le_bytes(), name.as_bytes(), &n.to_le_bytes()]);
            ChaCha8Rng::seed_from_u64(row)
        })
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.begun().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.begun().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.begun().fill_bytes(bytes);
        Ok(())
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Draw(Rng);

impl Draw {
    /// The next row of this factory in this test. The path tells factories of one name apart.
    pub fn next(path: &'static str, name: &'static str) -> Self {
        let seed = Seed::current();
        Self(Rng { n: seed.next(path), name, seed, begun: None })
    }

    pub fn n(&self) -> u64 {
        self.0.n
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.0
    }

    /// A word that no other row of any test has, whatever the seed.
    pub fn unique(&self) -> String {
        let Rng { seed, name, n, .. } = &self.0;
        let parts: [&[u8]; 4] =
            [&seed.value().to_le_bytes(), seed.test().as_bytes(), name.as_bytes(), &n.to_le_bytes()];
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
