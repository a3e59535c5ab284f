//! Lines and data on a connection, before and after STARTTLS, for the lab's servers and clients.
//!
//! Every buffer is bounded: a line by its caller, data by `data`. Output is collected and sent when the reader would
//! have to wait, so that a pipelined group is answered in one packet. Ends data at CRLF.CRLF only.

use bytes::{Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Octets read at once.
const READ_OCTETS: usize = 16 << 10;
/// Collected output is sent when it reaches this.
const OUTPUT_OCTETS: usize = 64 << 10;
const TERMINATOR: &[u8] = b"\r\n.\r\n";

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(crate) struct Wire {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
}

/// A message as it came.
pub(crate) enum Data {
    Whole(Bytes),
    /// Longer than allowed: read to its end and thrown away.
    TooLong,
}

impl Wire {
    pub fn new(stream: Stream) -> Wire {
        Wire { stream, input: BytesMut::with_capacity(READ_OCTETS), output: Vec::new() }
    }

    /// A line without its end. Waiting sends what was said. Ends the connection at end of file.
    pub async fn line(&mut self, octets_max: usize) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input[searched..]) {
                let mut line = self.input.split_to(searched + end + 1);
                line.truncate(line.len() - 1);
                if line.last() != Some(&b'\r') {
                    return Err(Error::new(ErrorKind::InvalidData, "a line that does not end with CRLF"));
                }
                line.truncate(line.len() - 1);
                return Ok(line.to_vec());
            }
            searched = self.input.len();
            if searched > octets_max {
                return Err(Error::new(ErrorKind::InvalidData, "a line that is too long"));
            }
            self.fill().await?;
        }
    }

    /// Everything up to CRLF.CRLF, dots unstuffed (RFC 5321 §4.5.2).
    pub async fn data(&mut self, octets_max: usize) -> Result<Data> {
        let mut whole = BytesMut::new();
        let (mut searched, mut too_long) = (0, false);
        // The CRLF of the DATA command counts: an empty message is a lone dot.
        whole.extend_from_slice(b"\r\n");
        loop {
            whole.extend_from_slice(&self.input);
            self.input.clear();
            if let Some(at) = memchr::memmem::find(&whole[searched..], TERMINATOR) {
                let end = searched + at;
                self.input.extend_from_slice(&whole[end + TERMINATOR.len()..]);
                if too_long || end > octets_max + 2 {
                    return Ok(Data::TooLong);
                }
                whole.truncate(end + 2);
                return Ok(Data::Whole(unstuff(&whole)));
            }
            if whole.len() > octets_max + TERMINATOR.len() {
                too_long = true;
                let tail = whole.split_off(whole.len() - (TERMINATOR.len() - 1));
                whole = tail;
            }
            searched = whole.len().saturating_sub(TERMINATOR.len() - 1);
            self.fill().await?;
        }
    }

    /// Exactly so many octets (BDAT), added to `into` or thrown away.
    pub async fn octets(&mut self, count: usize, mut into: Option<&mut Vec<u8>>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            if self.input.is_empty() {
                self.fill().await?;
            }
            let chunk = self.input.split_to(left.min(self.input.len()));
            left -= chunk.len();
            if let Some(into) = into.as_deref_mut() {
                into.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    /// Adds to what is said next.
    pub fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    pub fn say_octets(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(octets);
    }

    pub async fn flush(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&self.output).await?,
            Stream::Tls(stream) => {
                stream.write_all(&self.output).await?;
                stream.flush().await?;
            }
        }
        self.output.clear();
        if self.output.capacity() > OUTPUT_OCTETS {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Says goodbye as the transport does; the peer may be gone.
    pub async fn close(mut self) {
        let _ = self.flush().await;
        let _ = match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        };
    }

    /// The bare connection for a handshake. Octets that came before it are an attack or a mistake (RFC 3207 §4.2).
    pub async fn into_plain(mut self) -> Result<TcpStream> {
        self.flush().await?;
        match self.stream {
            Stream::Plain(stream) if self.input.is_empty() => Ok(stream),
            Stream::Plain(_) => {
                Err(Error::new(ErrorKind::InvalidData, "octets between STARTTLS and the handshake"))
            }
            Stream::Tls(_) => Err(Error::new(ErrorKind::InvalidInput, "TLS inside TLS")),
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.flush().await?;
        self.input.reserve(READ_OCTETS);
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.input).await?,
            Stream::Tls(stream) => stream.read_buf(&mut self.input).await?,
        };
        if count == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// `stuffed` begins with the CRLF before the data and ends with the CRLF before the dot.
fn unstuff(stuffed: &[u8]) -> Bytes {
    let mut plain = BytesMut::with_capacity(stuffed.len());
    let mut rest = stuffed;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n.") {
        plain.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    plain.extend_from_slice(rest);
    plain.freeze().slice(2..)
}

/// Doubles the dots at line starts and adds the final dot (RFC 5321 §4.5.2). `message` ends with CRLF.
pub(crate) fn stuff(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 64);
    let mut rest = message;
    if rest.first() == Some(&b'.') {
        stuffed.push(b'.');
    }
    while let Some(at) = memchr::memmem::find(rest, b"\r\n.") {
        stuffed.extend_from_slice(&rest[..at + 2]);
        stuffed.push(b'.');
        rest = &rest[at + 2..];
    }
    stuffed.extend_from_slice(rest);
    if !message.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// Whether every CR is followed by LF and every LF preceded by CR.
pub(crate) fn has_clean_line_ends(message: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', message).all(|at| match message[at] {
        b'\r' => message.get(at + 1) == Some(&b'\n'),
        _ => at > 0 && message[at - 1] == b'\r',
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Wire::new(Stream::Plain(server)), client)
    }

    #[tokio::test]
    async fn lines_without_crlf_and_endless_lines_are_errors() {
        let (mut wire, mut client) = pair().await;
        client.write_all(b"NOOP\n").await.unwrap();
        assert_eq!(wire.line(512).await.unwrap_err().kind(), ErrorKind::InvalidData);
        let (mut wire, mut client) = pair().await;
        client.write_all(&[b'x'; 2_000]).await.unwrap();
        assert_eq!(wire.line(512).await.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn data_ends_only_at_crlf_dot_crlf() {
        for (sent, whole) in [
            (&b".\r\nQUIT\r\n"[..], &b""[..]),
            (b"a\r\n..b\r\n.\r\nQUIT\r\n", b"a\r\n.b\r\n"),
            (b"..\r\n.\r\nQUIT\r\n", b".\r\n"),
            (b"a\n.\nb\r\n.\r\nQUIT\r\n", b"a\n.\nb\r\n"),
        ] {
            let (mut wire, mut client) = pair().await;
            client.write_all(sent).await.unwrap();
            let Data::Whole(data) = wire.data(1_000).await.unwrap() else { unreachable!("short") };
            assert_eq!(&data[..], whole);
            assert_eq!(wire.line(512).await.unwrap(), b"QUIT");
        }
    }

    #[tokio::test]
    async fn data_that_is_too_long_is_read_to_its_end() {
        let (mut wire, mut client) = pair().await;
        let mut sent = vec![b'x'; 100_000];
        sent.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client
        });
        assert!(matches!(wire.data(1_000).await.unwrap(), Data::TooLong));
        assert_eq!(wire.line(512).await.unwrap(), b"QUIT");
        writer.await.unwrap();
    }

    #[test]
    fn stuffing_is_undone_by_unstuffing() {
        for message in [&b""[..], b".\r\n", b"a\r\n.\r\n..b\r\n", b"\r\n.\r\n", b"...\r\n"] {
            let stuffed = stuff(message);
            let inside = [b"\r\n", stuffed.strip_suffix(b".\r\n").unwrap()].concat();
            let expected = if message.is_empty() { &b"\r\n"[..] } else { message };
            assert_eq!(&unstuff(&inside)[..], expected);
        }
    }

    #[test]
    fn a_lone_cr_or_lf_is_seen() {
        assert!(has_clean_line_ends(b"a\r\n\r\nb\r\n") && has_clean_line_ends(b""));
        for text in [&b"a\n"[..], b"\n", b"a\r", b"a\rb\r\n", b"a\r\r\n"] {
            assert!(!has_clean_line_ends(text), "{text:?}");
        }
    }
}
