//! What can go wrong with a sandbox itself. What goes wrong for a client is told to the client.

use crate::server::Server;

/// Why a sandbox could not be opened, or did not end as it began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server can't be reached or refuses us.
    #[error("could not connect to {database} for the sandbox: {reason}")]
    Connect {
        /// The database.
        database: String,
        /// The reason, as the system or the server gave it.
        reason: String,
    },
    /// The transaction of the sandbox ended while clients still used it. Nothing was committed.
    #[error("the sandbox's transaction in {database} was ended: {reason}")]
    Lost {
        /// The database.
        database: String,
        /// What ended it, with the statement.
        reason: String,
    },
    /// The system gave no socket.
    #[error("could not listen for clients of the sandbox: {reason}")]
    Listen {
        /// The reason, as the system gave it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn connect(server: &Server, reason: String) -> Self {
        Self::Connect { database: server.database.clone(), reason }
    }

    pub(crate) fn protocol(server: &Server) -> Self {
        Self::connect(server, "it answered with a message that does not belong there".to_owned())
    }

    pub(crate) fn lost(database: &str, reason: impl Into<String>) -> Self {
        Self::Lost { database: database.to_owned(), reason: reason.into() }
    }

    pub(crate) fn listen(error: &std::io::Error) -> Self {
        Self::Listen { reason: error.to_string() }
    }
}
