//! URLs of databases: read, pointed at another database, shown without a password. Pure.

use ::url::Url;

use crate::engine::Engine;

/// The URL without user, password and parameters: what a message may show.
pub(crate) fn shown(url: &str) -> String {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.split('?').next().unwrap_or(path);
        return path.trim_start_matches("//").to_owned();
    }
    match Url::parse(url) {
        Err(_) => "a malformed URL".to_owned(),
        Ok(parsed) => {
            let database = parsed.path().trim_start_matches('/').to_owned();
            let place = match socket(&parsed) {
                Some(path) => path,
                None => match (parsed.host_str(), parsed.port()) {
                    (Some(host), Some(port)) => format!("{host}:{port}"),
                    (Some(host), None) => host.to_owned(),
                    (None, _) => "localhost".to_owned(),
                },
            };
            if database.is_empty() { place } else { format!("{database} at {place}") }
        }
    }
}

/// The unix socket that the URL names, if it names one.
pub(crate) fn socket(url: &Url) -> Option<String> {
    let parameter = url
        .query_pairs()
        .find(|(key, value)| ["host", "socket", "unix_socket"].contains(&&**key) && value.starts_with('/'))
        .map(|(_, value)| value.into_owned());
    parameter.or_else(|| {
        let host = url.host_str()?.replace("%2F", "/").replace("%2f", "/");
        host.starts_with('/').then_some(host)
    })
}

/// Whether the URL has a password.
pub(crate) fn has_password(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.password().is_some())
}

/// The same server, another database.
pub(crate) fn with_database(url: &Url, database: &str) -> String {
    let mut url = url.clone();
    url.set_path(&format!("/{database}"));
    url.into()
}

/// The URL with one more parameter. Spaces become `%20`: libpq does not read `+` as one.
pub(crate) fn with_parameter(url: &str, key: &str, value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{key}={encoded}")
}

/// The text without percent encoding.
#[cfg(feature = "sandbox")]
pub(crate) fn decoded(text: &str) -> String {
    // A pair of a query is decoded; a lone `+` there would be a space.
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    ::url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// The engine that the URL's scheme names.
pub(crate) fn engine(url: &str) -> Option<Engine> {
    match url.split(':').next()? {
        "postgres" | "postgresql" => Some(Engine::Postgres),
        "mysql" | "mariadb" => Some(Engine::MySql),
        "sqlite" => Some(Engine::Sqlite),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_user_and_no_password() {
        assert_eq!(shown("postgres://u:secret@db:5433/app?x=secret"), "app at db:5433");
        assert_eq!(shown("postgres://u@localhost/app?host=/run/pg"), "app at /run/pg");
        assert_eq!(shown("postgres://u:se/cret@h/"), "a malformed URL");
        assert_eq!(shown("sqlite:///tmp/a.db?mode=rwc"), "/tmp/a.db");
    }

    #[test]
    fn another_database_on_the_same_server() {
        let url = Url::parse("mysql://u:p@h:1/app?socket=/x").expect("a URL");
        assert_eq!(with_database(&url, "other"), "mysql://u:p@h:1/other?socket=/x");
    }

    #[test]
    fn a_parameter_is_encoded_as_libpq_reads_it() {
        let url = with_parameter("postgres://h/d", "options", "-c search_path=a,b");
        assert_eq!(url, "postgres://h/d?options=-c%20search_path%3Da%2Cb");
    }
}
