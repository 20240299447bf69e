//! Everything about the asynchronous half that needs a database.

mod attribute;
mod bad_input;
#[cfg(feature = "conformance")]
mod conformance;
mod parametrised;
mod traps;

use diesel::QueryResult;
use diesel::sql_types::Text;
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncConnection, RunQueryDsl};

#[derive(diesel::QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

/// The answers of a query for one column of text that is called `word`.
async fn words<C>(connection: &mut C, query: &str) -> QueryResult<Vec<String>>
where
    C: AsyncConnection,
    for<'query> diesel::query_builder::SqlQuery: LoadQuery<'query, C, Word>,
{
    let words: Vec<Word> = diesel::sql_query(query).load(connection).await?;
    Ok(words.into_iter().map(|word| word.word).collect())
}
