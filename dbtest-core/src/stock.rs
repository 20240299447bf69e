//! Clones made ahead: while one test runs, the clone of the next is made, so that a test waits for
//! one only where tests take them faster than the server makes them.

use std::sync::{Arc, PoisonError};

use crate::description::Description;
use crate::engine::Hold;
use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::name::Name;
use crate::report::{Phase, timed};
use crate::{progress, run};

/// The clones of one setup that are ready, and how many there should be.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    ready: Vec<Cloned>,
    /// Those that are being made.
    making: usize,
    /// How many tests took one.
    taken: usize,
    wanted: usize,
}

/// A clone that no test has yet, or one.
pub(crate) type Cloned = (Name, Box<dyn Hold>);

impl Stock {
    /// A clone, if one is ready. That none is where tests take more than one says that one more is
    /// wanted, up to what can run at the same time.
    fn take(&mut self, most: usize) -> Option<Cloned> {
        self.taken += 1;
        let ready = self.ready.pop();
        if ready.is_none() && self.taken > 1 {
            self.wanted = (self.wanted + 1).min(most);
        }
        ready
    }

    /// How many are to be made now.
    fn missing(&mut self) -> usize {
        let missing = self.wanted.saturating_sub(self.ready.len() + self.making);
        self.making += missing;
        missing
    }
}

impl Ground {
    pub(crate) async fn stocked_or_new(self: &Arc<Self>, test: &str) -> Result<Cloned> {
        // A process that runs one test has nobody to make one ahead for.
        if run::is_shared() {
            return timed(Phase::Clone, self.new_clone(test)).await;
        }
        let most = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cloned = loop {
            let ready = self.stock.lock().unwrap_or_else(PoisonError::into_inner).take(most);
            match ready {
                // The server may have been restarted since.
                Some((name, mut hold)) => {
                    if hold.is_alive().await {
                        break (name, hold);
                    }
                }
                None => break timed(Phase::Clone, self.new_clone(test)).await?,
            }
        };
        for _ in 0..self.stock.lock().unwrap_or_else(PoisonError::into_inner).missing() {
            let (ground, test) = (Arc::clone(self), test.to_owned());
            crate::runtime::detach(async move {
                let made = ground.new_clone(&test).await;
                let mut stock = ground.stock.lock().unwrap_or_else(PoisonError::into_inner);
                stock.making -= 1;
                match made {
                    Ok(cloned) => stock.ready.push(cloned),
                    // The next test makes its own, and has the error if there is one again.
                    Err(error) => progress::say(&format!("no clone was made ahead: {error}")),
                }
            });
        }
        Ok(cloned)
    }

    async fn new_clone(self: &Arc<Self>, test: &str) -> Result<Cloned> {
        let name = Name::clone_of(&self.fingerprint);
        let noted =
            if self.places.is_remote() { run::read(self.config, &self.template_note()) } else { None };
        if let Some(description) = noted.and_then(|text| Description::from_json(&text)) {
            let template = Name::template(&self.fingerprint);
            if let Some(hold) = self.places.clone_of(&template, &description, &name).await? {
                return Ok((name, hold));
            }
        }
        // The first survey sweeps the clones of those who died.
        if !self.swept_yet() {
            self.survey().await?;
        }
        let template = self.template(test).await?;
        run::write(self.config, &self.template_note(), &template.description.to_json());
        match self.places.clone_of(&template.name, &template.description, &name).await? {
            Some(hold) => Ok((name, hold)),
            None => Err(Error::cleanup(&name.to_string(), "its name is locked, or its template is gone")),
        }
    }

    fn template_note(&self) -> String {
        format!("template-{}", self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nothing;

    #[async_trait::async_trait]
    impl Hold for Nothing {
        async fn release(self: Box<Self>) {}
    }

    /// A test takes one, and then those that are missing are made.
    fn step(stock: &mut Stock) -> (bool, usize) {
        let had = stock.take(2).is_some();
        let made = stock.missing();
        stock.making -= made;
        stock
            .ready
            .extend((0..made).map(|_| (Name::clone_of("0123456789ab"), Box::new(Nothing) as Box<dyn Hold>)));
        (had, made)
    }

    #[test]
    fn one_test_alone_has_nothing_made_ahead() {
        assert_eq!(step(&mut Stock::default()), (false, 0));
    }

    #[test]
    fn from_the_third_on_a_clone_is_ready() {
        let mut stock = Stock::default();
        let steps: Vec<_> = (0..4).map(|_| step(&mut stock)).collect();
        assert_eq!(steps, [(false, 0), (false, 1), (true, 1), (true, 1)]);
    }

    #[test]
    fn the_stock_grows_where_it_is_empty_and_no_further_than_it_may() {
        let mut stock = Stock::default();
        for _ in 0..5 {
            stock.take(2);
        }
        assert_eq!(stock.missing(), 2);
        assert_eq!(stock.missing(), 0, "they are being made");
    }
}
