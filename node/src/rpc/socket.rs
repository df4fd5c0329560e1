//! A socket that does not listen to whoever does not listen: while what was written to a peer waits for it to read,
//! nothing more is read from it, and after [`STALL_MAX`] of that the connection fails.
//!
//! Answers are often larger than the calls for them. Without this a client could send calls, never read, and have the
//! answers pile up here; with it, what it can make this node hold is bounded by what it sent before the first answer
//! filled the socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a peer may leave what it asked for unread.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(60);

/// A stream with that manner.
pub(crate) struct Socket<S> {
    stream: S,
    state: State,
    /// Who wanted to read while the peer did not.
    reader: Option<Waker>,
}

/// Whether the peer takes what is written.
enum State {
    Flowing,
    /// A write waits; when this fires, it has waited too long.
    Stalled(Pin<Box<Sleep>>),
}

impl<S> Socket<S> {
    /// Wraps a stream.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, state: State::Flowing, reader: None }
    }

    /// Notes how a write went.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.state = State::Flowing;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return result;
        }
        let timer = match &mut self.state {
            State::Stalled(timer) => timer,
            State::Flowing => {
                self.state = State::Stalled(Box::pin(tokio::time::sleep_until(Instant::now() + STALL_MAX)));
                let State::Stalled(timer) = &mut self.state else { unreachable!("just set") };
                timer
            }
        };
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.state, State::Stalled(_)) {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
