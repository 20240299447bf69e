//! Serves the to-do lists in the database that `DATABASE_URL` names.

use std::process::ExitCode;

use todo_seaorm::clock::Clock;
use todo_seaorm::{reminders, router, store};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| "DATABASE_URL is not set; try DATABASE_URL='sqlite://todo.db?mode=rwc'")?;
    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let (pool, clock) = (store::connect(&url).await?, Clock::system());
    tokio::spawn(reminders::run(pool.clone(), clock));
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}/lists", listener.local_addr()?);
    axum::serve(listener, router(pool, clock)).await?;
    Ok(())
}
