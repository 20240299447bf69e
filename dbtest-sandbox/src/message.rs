//! The messages that a sandbox writes itself, and how it reads errors. Pure.

use bytes::{BufMut, BytesMut};

use crate::wire::Fields;

/// Writes one message: its tag, its length, and what the function writes.
fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn string(out: &mut BytesMut, text: &[u8]) {
    out.extend(text.iter().filter(|&&byte| byte != 0));
    out.put_u8(0);
}

pub(crate) fn ready(out: &mut BytesMut, status: u8) {
    message(out, b'Z', |out| out.put_u8(status));
}

pub(crate) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| string(out, tag.as_bytes()));
}

pub(crate) fn empty_query(out: &mut BytesMut) {
    message(out, b'I', |_| {});
}

pub(crate) fn close_complete(out: &mut BytesMut) {
    message(out, b'3', |_| {});
}

pub(crate) fn authentication(out: &mut BytesMut, kind: u32) {
    message(out, b'R', |out| out.put_u32(kind));
}

pub(crate) fn key(out: &mut BytesMut, id: u32, secret: u32) {
    message(out, b'K', |out| {
        out.put_u32(id);
        out.put_u32(secret);
    });
}

pub(crate) fn parameter(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    });
}

/// Protocol 3.0 is what there is, and these options are unknown.
pub(crate) fn negotiate(out: &mut BytesMut, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_u32(0);
        out.put_u32(unknown.len() as u32);
        for name in unknown {
            string(out, name.as_bytes());
        }
    });
}

pub(crate) fn notification(out: &mut BytesMut, from: u32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.put_u32(from);
        string(out, channel.as_bytes());
        string(out, payload.as_bytes());
    });
}

/// An error or warning in the fields of ErrorResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) severity: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Report {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "ERROR", code, message: message.into(), detail: None, hint: None }
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", ..Self::error(code, message) }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "WARNING", ..Self::error(code, message) }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        let tag = if self.severity == "WARNING" { b'N' } else { b'E' };
        message(out, tag, |out| {
            let detail = self.detail.as_deref();
            let fields = [
                (b'S', Some(self.severity)),
                (b'V', Some(self.severity)),
                (b'C', Some(self.code)),
                (b'M', Some(self.message.as_str())),
                (b'D', detail),
                (b'H', self.hint.as_deref()),
            ];
            for (field, value) in fields {
                if let Some(value) = value {
                    out.put_u8(field);
                    string(out, value.as_bytes());
                }
            }
            out.put_u8(0);
        });
    }
}

/// What of a server's error decides something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ServerError {
    /// Reads the body of an ErrorResponse.
    pub(crate) fn read(body: &[u8]) -> Self {
        let [code, message] = fields(body, [b'C', b'M']).map(Option::unwrap_or_default);
        Self { code, message }
    }
}

/// The fields that are asked for of the body of an ErrorResponse or NoticeResponse, those that are there.
pub(crate) fn fields<const N: usize>(body: &[u8], wanted: [u8; N]) -> [Option<String>; N] {
    let (mut found, mut rest) = ([const { None }; N], Fields(body));
    while let Ok([field]) = rest.take::<1>()
        && field != 0
        && let Ok(value) = rest.string()
    {
        if let Some(at) = wanted.iter().position(|wanted| *wanted == field) {
            found[at] = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    found
}

/// An ErrorResponse with a hint, unless the server gave one.
pub(crate) fn with_hint(out: &mut BytesMut, body: &[u8], hint: &str) {
    message(out, b'E', |out| {
        let mut fields = Fields(body);
        let mut hinted = false;
        while let Ok([field]) = fields.take::<1>()
            && field != 0
        {
            let Ok(value) = fields.string() else { break };
            hinted |= field == b'H';
            out.put_u8(field);
            string(out, value);
        }
        if !hinted {
            out.put_u8(b'H');
            string(out, hint.as_bytes());
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_and_takes_one_hint() {
        let mut out = BytesMut::new();
        Report::error("42601", "no\0 way").write(&mut out);
        let error = ServerError::read(&out[5..]);
        assert_eq!(error, ServerError { code: "42601".into(), message: "no way".into() });
        let mut hinted = BytesMut::new();
        with_hint(&mut hinted, &out[5..], "do this");
        let mut again = BytesMut::new();
        with_hint(&mut again, &hinted[5..], "or that");
        assert_eq!(hinted, again);
        assert!(String::from_utf8_lossy(&hinted).contains("do this"));
    }
}
