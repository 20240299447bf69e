//! The first messages of a client: what it asks for, who it is, what it wants to have set.

use std::collections::BTreeMap;

use crate::wire::{Fields, Malformed};

const VERSION_3: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The longest startup packet, as Postgres has it.
const LONGEST: usize = 10_000;

/// What a client begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It asks for encryption, which nobody needs on loopback.
    Encryption,
    /// It cancels what another connection runs.
    Cancel { id: u32, secret: u32 },
    /// It wants to log in.
    Startup(Startup),
}

/// A client's wishes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Startup {
    pub(crate) user: String,
    pub(crate) database: Option<String>,
    pub(crate) replication: bool,
    /// Parameters to set, from their own fields and from `options`.
    pub(crate) settings: BTreeMap<String, String>,
    /// Protocol options that nobody here knows.
    pub(crate) unknown: Vec<String>,
    /// It asked for a newer minor version.
    pub(crate) newer: bool,
}

/// The length of the packet at the head of the bytes.
pub(crate) fn packet_length(bytes: &[u8]) -> Option<Result<usize, Malformed>> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    Some(if (8..=LONGEST).contains(&length) {
        Ok(length)
    } else {
        Err(Malformed("length of startup packet"))
    })
}

/// Reads a whole packet.
pub(crate) fn read(packet: &[u8]) -> Result<Opening, Malformed> {
    let mut fields = Fields(packet.get(4..).unwrap_or_default());
    let code = u32::from_be_bytes(fields.take()?);
    match code {
        SSL | GSS => Ok(Opening::Encryption),
        CANCEL => Ok(Opening::Cancel {
            id: u32::from_be_bytes(fields.take()?),
            secret: u32::from_be_bytes(fields.take()?),
        }),
        _ if code >> 16 == VERSION_3 >> 16 => startup(fields, code > VERSION_3).map(Opening::Startup),
        _ => Err(Malformed("protocol version: only 3 is spoken")),
    }
}

fn startup(mut fields: Fields<'_>, newer: bool) -> Result<Startup, Malformed> {
    let mut startup = Startup { newer, ..Startup::default() };
    loop {
        let name = text(fields.string()?)?;
        if name.is_empty() {
            break;
        }
        let value = text(fields.string()?)?;
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = Some(value),
            "replication" => {
                startup.replication = !matches!(value.as_str(), "false" | "off" | "no" | "0");
            }
            "options" => options(&value, &mut startup.settings)?,
            _ if name.starts_with("_pq_.") => startup.unknown.push(name),
            _ => {
                startup.settings.insert(name.to_ascii_lowercase(), value);
            }
        }
    }
    if startup.user.is_empty() {
        return Err(Malformed("startup packet: it names no user"));
    }
    Ok(startup)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("encoding of startup packet"))
}

/// `-c name=value` and `--name=value`, with backslashes before white space.
fn options(text: &str, settings: &mut BTreeMap<String, String>) -> Result<(), Malformed> {
    let wrong = Malformed("options in startup packet: only -c name=value is taken");
    let mut words = Vec::new();
    let (mut word, mut open) = (String::new(), false);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                word.extend(chars.next());
                open = true;
            }
            _ if char.is_ascii_whitespace() => {
                if std::mem::take(&mut open) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(char);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let pair = if word == "-c" {
            words.next().ok_or(wrong)?
        } else if let Some(pair) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            pair.to_owned()
        } else {
            return Err(wrong);
        };
        let (name, value) = pair.split_once('=').ok_or(wrong)?;
        settings.insert(name.replace('-', "_").to_ascii_lowercase(), value.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = (8 + body.len()) as u32;
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_startup_packet_says_who_and_what() {
        let body = b"user\0me\0database\0d\0options\0-c a.b=1 --c-d=x\\ y\0TimeZone\0UTC\0_pq_.x\0y\0\0";
        let Ok(Opening::Startup(startup)) = read(&packet(VERSION_3 + 2, body)) else { panic!("refused") };
        assert_eq!((startup.user.as_str(), startup.database.as_deref()), ("me", Some("d")));
        let settings: Vec<_> = startup.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(settings, [("a.b", "1"), ("c_d", "x y"), ("timezone", "UTC")]);
        assert!(startup.newer && startup.unknown == ["_pq_.x"]);
    }

    #[test]
    fn a_packet_that_is_cut_or_unknown_is_refused() {
        let body = b"user\0me\0database\0d\0\0";
        for cut in 0..body.len() {
            assert!(read(&packet(VERSION_3, &body[..cut])).is_err(), "{cut}");
        }
        assert!(read(&packet(2 << 16, b"")).is_err());
        assert!(read(&packet(CANCEL, b"1234")).is_err());
        assert!(packet_length(&[0, 0, 0, 7]).is_some_and(|length| length.is_err()));
        assert!(packet_length(&[0xff; 4]).is_some_and(|length| length.is_err()));
    }
}
