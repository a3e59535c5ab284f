//! The stream of one connection, with an eye on what its client sends.
//!
//! A shell around `flood::Frames`: what is read goes through there, and a flood ends the reading with an error, which
//! ends the connection. What may surprise: after `TURN` octets it says that nothing is there and asks to be polled again
//! at once. tokio lets one task read 128 times without a break, which is a megabyte of frames, and everybody else on its
//! thread would wait for all of them.

use crate::flood::{Flood, Frames};
use mail::Clock;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Octets that are read before others have their turn.
const TURN: usize = 64 * 1024;

pub struct Watched {
    stream: TcpStream,
    frames: Frames,
    clock: Arc<dyn Clock>,
    /// Of this turn.
    read: usize,
    flooded: Flooded,
}

/// Whether a connection was closed for a flood; outlives its stream.
#[derive(Debug, Clone, Default)]
pub struct Flooded(Arc<AtomicBool>);

impl Flooded {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Watched {
    pub fn new(stream: TcpStream, frames: Frames, clock: Arc<dyn Clock>) -> Watched {
        Watched { stream, frames, clock, read: 0, flooded: Flooded::default() }
    }

    pub fn flooded(&self) -> Flooded {
        self.flooded.clone()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.read >= TURN {
            me.read = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut me.stream).poll_read(context, buffer);
        if read.is_pending() {
            me.read = 0;
        }
        ready!(read)?;
        let octets = buffer.filled().get(before..).unwrap_or_default();
        me.read += octets.len();
        me.frames.read(octets, me.clock.instant()).map_err(|flood: Flood| {
            me.flooded.0.store(true, Ordering::Release);
            io::Error::other(flood)
        })?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, octets))?;
        self.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, octets))?;
        self.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
