//! Diesel's migrations on a connection of diesel-async.

use std::sync::Arc;

use dbtest_core::{BoxFuture, StepError, blocking};

use super::backend::{DieselAsync, Driver};
use super::pool::{Pooling, close};
use crate::migrate::{All, migrations, words};

type Running = BoxFuture<'static, Result<(), StepError>>;

/// diesel-async's harness blocks its thread, so it gets one of dbtest's own.
fn run<C: Driver, P: Pooling<C>>(pool: P::Pool, all: Result<Arc<All>, String>) -> Running {
    Box::pin(async move {
        let all = all.map_err(words)?;
        let connection = P::own(&pool).await.map_err(words)?;
        let ran = blocking(move || connection.migrate(&all)).await;
        // Nothing of it may be open when the database is copied.
        close::<C, P>(&pool).await;
        ran
    })
}

migrations! { [C: Driver, P: Pooling<C>] DieselAsync<C, P>, C::Backend, P::Pool, run::<C, P> }
