//! The connection of one session: plain, or TLS since some moment.
//!
//! Reading hands the octets to a closure from a buffer on the stack, so that two thousand idle sessions hold no read
//! buffers. Writing has a time limit: a client that does not take our replies is dropped.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Octets taken from the socket at once.
const READ_OCTETS: usize = 16 * 1024;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Waits for octets, gives them to `take`, and says how many there were; 0 is the end.
    pub async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|context| {
            let mut buffer = [MaybeUninit::<u8>::uninit(); READ_OCTETS];
            let mut buffer = ReadBuf::uninit(&mut buffer);
            ready!(match self {
                Stream::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Stream::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            })?;
            take(buffer.filled());
            Ok(buffer.filled().len()).into()
        })
        .await
    }

    pub async fn write(&mut self, octets: &[u8], limit: Duration) -> io::Result<()> {
        let write = async {
            match self {
                Stream::Plain(stream) => stream.write_all(octets).await,
                Stream::Tls(stream) => {
                    stream.write_all(octets).await?;
                    stream.flush().await
                }
            }
        };
        tokio::time::timeout(limit, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The handshake, our side. On a stream that is TLS already it fails.
    pub async fn into_tls(self, acceptor: TlsAcceptor, limit: Duration) -> io::Result<Stream> {
        let Stream::Plain(stream) = self else { return Err(io::ErrorKind::AlreadyExists.into()) };
        match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream?))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Protocol version and cipher suite, as standards and logs name them.
    pub fn tls_names(&self) -> Option<(String, String)> {
        let Stream::Tls(stream) = self else { return None };
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        };
        Some((version, format!("{:?}", connection.negotiated_cipher_suite()?.suite())))
    }

    /// Says goodbye in the way of the transport; a client that has gone already is no error.
    pub async fn close(mut self, limit: Duration) {
        let goodbye = async {
            match &mut self {
                Stream::Plain(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
            }
        };
        let _ = tokio::time::timeout(limit, goodbye).await;
    }
}
