//! The connection to the real server: startup, authentication, cancel requests.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;

use crate::error::Error;
use crate::session::Deferrable;
use crate::wire::{Address, Wire};

/// A database on a running Postgres, and who asks for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub address: Address,
    /// The user. Clients of the sandbox are this user too.
    pub user: String,
    /// Their password, if the server asks for one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({} at {:?})", self.database, self.address)
    }
}

/// A connection to the server that a sandbox can be opened on, and that is there again when the
/// sandbox is closed.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) wire: Wire,
    pub(crate) server: Server,
    pub(crate) key: (i32, i32),
    pub(crate) parameters: BTreeMap<String, String>,
    /// The deferrable constraints of the database, once a sandbox had to know and was over.
    pub(crate) deferrable: Option<Deferrable>,
}

impl Upstream {
    /// Connects to the server. What runs outside the sandbox's transaction can't write from here
    /// on: the session's default is READ ONLY.
    ///
    /// # Errors
    /// The server can't be reached, refuses the user, or asks for what is not spoken here (TLS,
    /// Kerberos).
    pub async fn connect(server: Server) -> Result<Self, Error> {
        crate::runtime::run(Box::pin(connect(server))).await
    }

    /// The process of the server that serves this connection, as `pg_stat_activity` has it.
    pub fn process(&self) -> i32 {
        self.key.0
    }
}

async fn connect(server: Server) -> Result<Upstream, Error> {
    let failed = |error: io::Error| Error::connect(&server, error.to_string());
    let stream = server.address.connect().await.map_err(failed)?;
    let mut wire = Wire::new(stream);
    let startup = [
        ("user", server.user.as_str()),
        ("database", &server.database),
        ("application_name", "dbtest sandbox"),
        ("client_encoding", "UTF8"),
        // A startup value is what RESET and DISCARD come back to.
        ("default_transaction_read_only", "on"),
    ];
    frontend::startup_message(startup, &mut wire.output).map_err(failed)?;
    let mut scram = None;
    let mut key = (0, 0);
    let mut parameters = BTreeMap::new();
    loop {
        let password = || {
            server.password.as_deref().map(str::as_bytes).ok_or_else(|| {
                Error::connect(&server, "it asks for a password, and the URL has none".to_owned())
            })
        };
        match next(&mut wire).await.map_err(failed)? {
            Message::AuthenticationOk => {}
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?, &mut wire.output).map_err(failed)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(server.user.as_bytes(), password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut wire.output).map_err(failed)?;
            }
            Message::AuthenticationSasl(body) => {
                if !body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256)).map_err(failed)? {
                    return Err(Error::connect(&server, "it asks for an unknown SASL mechanism".to_owned()));
                }
                let client = ScramSha256::new(password()?, ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, client.message(), &mut wire.output)
                    .map_err(failed)?;
                scram = Some(client);
            }
            Message::AuthenticationSaslContinue(body) => {
                let Some(client) = &mut scram else { return Err(Error::protocol(&server)) };
                client.update(body.data()).map_err(failed)?;
                frontend::sasl_response(client.message(), &mut wire.output).map_err(failed)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let Some(client) = &mut scram else { return Err(Error::protocol(&server)) };
                client.finish(body.data()).map_err(failed)?;
            }
            Message::BackendKeyData(body) => key = (body.process_id(), body.secret_key()),
            Message::ParameterStatus(body) => {
                let (name, value) = (body.name().map_err(failed)?, body.value().map_err(failed)?);
                parameters.insert(name.to_owned(), value.to_owned());
            }
            Message::NoticeResponse(_) => {}
            Message::ErrorResponse(body) => return Err(Error::connect(&server, words(&body))),
            Message::ReadyForQuery(_) => {
                return Ok(Upstream { wire, server, key, parameters, deferrable: None });
            }
            _ => {
                let what = "it asks for a way to log in that is not spoken here";
                return Err(Error::connect(&server, what.to_owned()));
            }
        }
    }
}

async fn next(wire: &mut Wire) -> io::Result<Message> {
    wire.flush().await?;
    loop {
        if let Some(message) = Message::parse(&mut wire.input)? {
            return Ok(message);
        }
        if !wire.read().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn words(body: &ErrorResponseBody) -> String {
    let field = |wanted: u8| {
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            if field.type_() == wanted {
                return String::from_utf8_lossy(field.value_bytes()).into_owned();
            }
        }
        String::new()
    };
    format!("{} ({})", field(b'M'), field(b'C'))
}

/// Asks the server to cancel what that connection runs, and waits until it has.
pub(crate) async fn cancel(address: &Address, key: (i32, i32)) -> io::Result<()> {
    let mut request = BytesMut::new();
    frontend::cancel_request(key.0, key.1, &mut request);
    let mut wire = Wire::new(address.connect().await?);
    wire.output = request;
    wire.flush().await?;
    // The server closes the connection when the signal is sent.
    while wire.read().await? {}
    Ok(())
}
