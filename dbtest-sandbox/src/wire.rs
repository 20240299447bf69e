//! Bytes in and out: sockets, buffers, and the frames of protocol 3. It knows no meaning.

use std::cell::RefCell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// The longest message that Postgres takes.
const LONGEST: usize = 0x3fff_ffff;

/// The longest message of a kind that is never long, as Postgres has it.
const SHORT: usize = 10_000;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and its port.
    Tcp(String, u16),
    /// The socket itself.
    Unix(PathBuf),
}

impl Address {
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    }
}

/// A socket of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A socket with what was read and not used yet, and what is to be written.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    /// What looking found.
    found: Option<io::Result<usize>>,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), found: None }
    }

    /// Reads what is there. `Ready(0)` is the other side's end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(found) = self.found.take() {
            return Poll::Ready(found);
        }
        self.input.reserve(READ);
        std::pin::pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Reads what is there past the runtime, for a thread that looks for the next message: to ask
    /// the runtime costs more than to ask the socket. What is found, [`poll_read`](Wire::poll_read)
    /// reports next.
    pub(crate) fn look(&mut self) -> Option<()> {
        thread_local! {
            static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
        }
        let socket = match &self.stream {
            Stream::Tcp(stream) => SockRef::from(stream),
            Stream::Unix(stream) => SockRef::from(stream),
        };
        let found = PIECE.with_borrow_mut(|piece| {
            let read = (&*socket).read(piece)?;
            self.input.extend_from_slice(&piece[..read]);
            Ok(read)
        });
        if found.as_ref().is_err_and(|error: &io::Error| error.kind() == io::ErrorKind::WouldBlock) {
            return None;
        }
        self.found = Some(found);
        Some(())
    }

    /// Writes what there is to write, as far as the socket takes it.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write(cx)).await
    }

    /// Reads once. `false` is the other side's end.
    pub(crate) async fn read(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| self.poll_read(cx)).await.map(|read| read > 0)
    }

    /// Ends the connection after what is still to be written.
    pub(crate) async fn shut(&mut self) {
        let _ = self.flush().await;
        let _ = std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
    }
}

/// A message: its tag, and all of its bytes with tag and length.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
}

impl Frame {
    pub(crate) fn tag(&self) -> u8 {
        self.bytes[0]
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }
}

/// The length of the frame at the head of the bytes, with its tag; `None` while its head is not
/// all there.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<Result<usize, Malformed>> {
    let head = bytes.first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    Some(if (4..=LONGEST).contains(&length) { Ok(length + 1) } else { Err(Malformed("message length")) })
}

/// Takes a whole frame of a client off the buffer, if one is there.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    // Before its length is believed.
    if buffer.first().is_some_and(|tag| !b"QPBDECHSFXdcfp".contains(tag)) {
        return Err(Malformed("frontend message type"));
    }
    let Some(length) = frame_length(buffer) else { return Ok(None) };
    let length = length?;
    let long = matches!(buffer[0], b'Q' | b'P' | b'B' | b'F' | b'd' | b'p');
    if !long && length > SHORT {
        return Err(Malformed("message length"));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    Ok(Some(Frame { bytes: buffer.split_to(length).freeze() }))
}

/// A message that does not say what its kind must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads the fields of a message's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Malformed("string in message"))?;
        let (string, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(string)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("message format"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("message format"))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_all_of_it_is_there() {
        let whole = b"Q\0\0\0\x06a\0S\0\0\0\x04";
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            let taken = take_frame(&mut buffer).expect("well-formed");
            assert_eq!(taken.is_some(), cut >= 7, "{cut}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_its_bytes_come() {
        for head in [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"S\0\x01\0\0", b"Q\x7f\xff\xff\xff"] {
            assert!(take_frame(&mut BytesMut::from(head)).is_err(), "{head:?}");
        }
    }
}
