//! Opens a database: its URL, and the engine's own client on it.

use std::process::Command;

use dbtest_sqlx::{Engine, Error, ErrorKind, Inventory, Listed, PlaceKind, Result};
use url::Url;

use crate::outcome::Outcome;
use crate::{servers, show};

/// `cargo dbtest url NAME`
pub(crate) async fn url(name: &str, json: bool) -> Result<Outcome> {
    let found = servers::find(|place| place.name == name).await;
    let Some((url, place)) = found.first().and_then(|(server, place)| Some((server.url(place)?, place)))
    else {
        return Ok(not_found(name));
    };
    if json {
        let mut value = show::place_json(place);
        value["url"] = url.into();
        show::json(&value);
    } else {
        println!("{url}");
    }
    Ok(Outcome::Good)
}

/// Says that nothing has the name, and what does.
pub(crate) fn not_found(name: &str) -> Outcome {
    eprintln!(
        "nothing that dbtest made has the name {name}; the database of a failed test may have made room for \
         newer ones, of which each server keeps DBTEST_KEEP_MAX (5)\n  \
         next step: `cargo dbtest status` lists what it made; `cargo dbtest keep NAME` keeps one for good"
    );
    Outcome::NotFound
}

/// `cargo dbtest shell [NAME]`
pub(crate) async fn shell(name: Option<&str>) -> Result<Outcome> {
    let found = match name {
        Some(name) => servers::find(|place| place.name == name).await.into_iter().next(),
        None => {
            let kept = servers::find(|place| place.kept.is_some()).await;
            kept.into_iter().max_by_key(|(_, place)| place.kept.as_ref().map(|kept| kept.at))
        }
    };
    let Some((server, place)) = found else {
        let Some(name) = name else {
            eprintln!(
                "no database is kept\n  next step: a test that fails keeps its own; or name one that `cargo dbtest status` lists"
            );
            return Ok(Outcome::NotFound);
        };
        return Ok(not_found(name));
    };
    if let Some(kept) = &place.kept {
        eprintln!("{}: kept when {} {}", place.name, kept.test, show::outcome(kept));
    }
    if place.held {
        eprintln!(
            "{} is leased: when its test ends it is reset, and this connection may be ended",
            place.name
        );
    }
    let url = server.url(&place).unwrap_or_default();
    run(&server, client(&server, &place, &url)?)
}

/// The client and its arguments. The password is not among them, where every user of the machine could
/// read it, but in the environment.
fn client(server: &Inventory, place: &Listed, url: &str) -> Result<Command> {
    let template = place.kind == PlaceKind::Template;
    match server.engine() {
        Engine::Postgres if template => Err(Error::new(
            ErrorKind::Refused,
            format!(
                "{} is a template, and Postgres keeps it closed so that it stays as it was built",
                place.name
            ),
            "open a slot of the same setup, which is a copy; `cargo dbtest status` lists them",
        )),
        Engine::Postgres => postgres(url),
        Engine::MySql => mysql(url, template),
        _ => Ok(sqlite(url, template)),
    }
}

fn parsed(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            format!("the database's URL cannot be read: {error}"),
            "correct the variable that names the server",
        )
    })
}

fn postgres(url: &str) -> Result<Command> {
    let mut url = parsed(url)?;
    let mut command = Command::new("psql");
    if let Some(password) = url.password() {
        command.env("PGPASSWORD", decoded(password));
    }
    // This fails on URLs without a host only, and they have no password.
    let _ = url.set_password(None);
    command.arg(url.as_str());
    Ok(command)
}

fn mysql(url: &str, template: bool) -> Result<Command> {
    let url = parsed(url)?;
    let mut command = Command::new("mysql");
    let socket = url.query_pairs().find(|(key, _)| key == "socket").map(|(_, path)| path.into_owned());
    match (socket, url.host_str()) {
        (Some(path), _) => {
            command.arg(format!("--socket={path}"));
        }
        (None, host) => {
            // Or the client would take a socket for "localhost".
            command.arg("--protocol=tcp").arg(format!("--host={}", host.unwrap_or("localhost")));
            command.arg(format!("--port={}", url.port().unwrap_or(3306)));
        }
    }
    if !url.username().is_empty() {
        command.arg(format!("--user={}", decoded(url.username())));
    }
    if let Some(password) = url.password() {
        command.env("MYSQL_PWD", decoded(password));
    }
    if template {
        command.arg("--init-command=SET SESSION TRANSACTION READ ONLY");
    }
    command.arg(url.path().trim_start_matches('/'));
    Ok(command)
}

fn sqlite(url: &str, template: bool) -> Command {
    let mut command = Command::new("sqlite3");
    if template {
        command.arg("-readonly");
    }
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    command.arg(path.split('?').next().unwrap_or(path));
    command
}

/// The text without percent encoding.
fn decoded(text: &str) -> String {
    // A pair of a query is decoded; a lone `+` there would be a space.
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Becomes the client. Returns only if that can't be.
fn run(server: &Inventory, mut command: Command) -> Result<Outcome> {
    let program = command.get_program().to_string_lossy().into_owned();
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => return Ok(if status.success() { Outcome::Good } else { Outcome::Failed }),
        Err(error) => error,
    };
    Err(Error::new(
        ErrorKind::System,
        format!("cannot run {program}, the client of {}: {error}", server.engine()),
        "install it and put it on the PATH, or open what `cargo dbtest url NAME` prints with a client that you have",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn set(command: &Command, name: &str) -> Option<String> {
        let (_, value) = command.get_envs().find(|(key, _)| *key == name)?;
        Some(value?.to_string_lossy().into_owned())
    }

    #[test]
    fn a_password_goes_into_the_environment_and_not_onto_the_command_line() {
        let psql = postgres("postgres://me:a%2Fb@db:5433/d?application_name=x").expect("a command");
        assert_eq!(line(&psql), "psql postgres://me@db:5433/d?application_name=x");
        assert_eq!(set(&psql, "PGPASSWORD").as_deref(), Some("a/b"));
        let mysql = mysql("mysql://me:a+b%26@db:3307/d", false).expect("a command");
        assert_eq!(line(&mysql), "mysql --protocol=tcp --host=db --port=3307 --user=me d");
        assert_eq!(set(&mysql, "MYSQL_PWD").as_deref(), Some("a+b&"));
    }

    #[test]
    fn a_socket_is_named_and_a_template_is_only_read() {
        let mysql = mysql("mysql://root@localhost/d?socket=%2Frun%2Fs", true).expect("a command");
        let expected = "mysql --socket=/run/s --user=root --init-command=SET SESSION TRANSACTION READ ONLY d";
        assert_eq!(line(&mysql), expected);
        assert_eq!(line(&sqlite("sqlite:///tmp/a.db", true)), "sqlite3 -readonly /tmp/a.db");
    }
}
