//! Validator streams: queues of frames, and the tasks that write and read them.
//!
//! ```text
//!  opener (sends)                          acceptor (receives)
//!    │ ── open /quorate/1/<chain>/frames ──▶ │   held until an announcement binds the opener to a validator
//!    │ ◀────────────── 1 byte ────────────── │   accepted: from now on frames are read
//!    │ ── length ‖ frame, length ‖ frame … ▶ │
//!    │ ◀──────────── end of stream ───────── │   closed: the opener opens another one, after a pause
//! ```
//! The byte of acceptance matters: libp2p-stream drops inbound streams when several arrive at once, and the opener
//! must not take such a stream for one that is read. A stream is opened again with exponential back-off.
//!
//! Frames wait in a [`Queue`] per validator, whether it is connected or not; a full queue drops its oldest frame,
//! because to consensus the newest says the most. Urgent frames overtake bulk ones.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, io::BufReader};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use quorate_crypto::PublicKey;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tracing::{debug, info};

use crate::{
    Inbound, Limits,
    backoff::Backoff,
    bound::Bound,
    framing::{self, FrameError},
    limits::{STREAM_ACCEPT_TIMEOUT, STREAM_BACKOFF, WRITE_BATCH_BYTES},
    metrics::{Direction, Metrics},
    status::Status,
};

/// How a frame is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Votes, proposals: written before anything that is [`Class::Bulk`].
    Urgent,
    /// Transactions, certified blocks.
    Bulk,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Urgent => "urgent",
            Class::Bulk => "bulk",
        }
    }
}

/// The frames of one class that wait for one validator.
#[derive(Debug)]
struct Lane {
    frames: VecDeque<Bytes>,
    bytes: usize,
    frames_max: usize,
    bytes_max: Bound,
}

impl Lane {
    fn new(frames_max: usize, bytes_max: Bound) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, frames_max, bytes_max }
    }

    /// Appends a frame, dropping the oldest until it fits; returns how many were dropped.
    fn push(&mut self, frame: Bytes) -> usize {
        let bytes_max = self.bytes_max.max();
        assert!(frame.len() <= bytes_max, "a queue holds at least one frame of any size (Limits::check)");
        self.bytes += frame.len();
        self.frames.push_back(frame);
        let mut dropped = 0;
        while self.frames.len() > self.frames_max || self.bytes > bytes_max {
            let oldest = self.frames.pop_front().expect("the new frame alone is within both bounds");
            self.bytes -= oldest.len();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

/// The frames that wait for one validator.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: Mutex<(Lane, Lane)>,
    filled: Notify,
    metrics: Metrics,
}

impl Queue {
    pub(crate) fn new(limits: &Limits, bytes_max: &Bound, metrics: Metrics) -> Self {
        let urgent = Lane::new(limits.urgent_frames_max, bytes_max.clone());
        let bulk = Lane::new(limits.bulk_frames_max, bytes_max.clone());
        Self { lanes: Mutex::new((urgent, bulk)), filled: Notify::new(), metrics }
    }

    /// Appends a frame; never blocks. A full queue drops the oldest frame of the class.
    pub(crate) fn push(&self, class: Class, frame: Bytes) {
        let dropped = {
            let (urgent, bulk) = &mut *self.lanes();
            match class {
                Class::Urgent => urgent.push(frame),
                Class::Bulk => bulk.push(frame),
            }
        };
        self.metrics.frames_dropped(class, dropped);
        self.filled.notify_one();
    }

    /// The next frame, if there is one: urgent before bulk, the oldest first.
    fn try_pop(&self) -> Option<(Class, Bytes)> {
        let (urgent, bulk) = &mut *self.lanes();
        urgent
            .pop()
            .map(|frame| (Class::Urgent, frame))
            .or_else(|| bulk.pop().map(|frame| (Class::Bulk, frame)))
    }

    /// Waits for the next frame. Takes nothing if it is dropped before it is ready.
    async fn pop(&self) -> (Class, Bytes) {
        loop {
            if let Some(next) = self.try_pop() {
                return next;
            }
            // A frame pushed since then has left a permit, so this cannot miss it.
            self.filled.notified().await;
        }
    }

    fn lanes(&self) -> MutexGuard<'_, (Lane, Lane)> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task needs to send to one validator.
pub(crate) struct Outbound {
    pub(crate) control: Control,
    pub(crate) protocol: StreamProtocol,
    pub(crate) validator: PublicKey,
    pub(crate) peer: PeerId,
    pub(crate) queue: Arc<Queue>,
    pub(crate) status: Status,
    pub(crate) metrics: Metrics,
}

impl Outbound {
    /// Keeps a stream to the validator open and writes what is queued; runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(STREAM_BACKOFF);
        loop {
            match self.open().await {
                Ok(stream) => {
                    backoff.reset();
                    let mark = self.status.up(self.validator, Direction::Outbound);
                    debug!(validator = %self.validator, peer = %self.peer, "stream to validator is up");
                    let end = self.write(stream).await;
                    drop(mark);
                    debug!(validator = %self.validator, peer = %self.peer, end = %end, "stream to validator ended");
                }
                Err(error) => {
                    debug!(validator = %self.validator, peer = %self.peer, %error, "no stream to validator yet");
                }
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Opens a stream and waits until the other side accepted it.
    async fn open(&mut self) -> io::Result<Stream> {
        let open = async {
            let opened = self.control.open_stream(self.peer, self.protocol.clone()).await;
            let mut stream = opened.map_err(|error| io::Error::other(error.to_string()))?;
            let mut accepted = [0];
            stream.read_exact(&mut accepted).await?;
            Ok(stream)
        };
        timeout(STREAM_ACCEPT_TIMEOUT, open).await?
    }

    /// Writes frames until the stream ends; returns how it ended.
    async fn write(&self, stream: Stream) -> io::Error {
        let (mut reader, mut writer) = stream.split();
        let mut buffer = Vec::new();
        let mut nothing = [0];
        loop {
            let first = tokio::select! {
                next = self.queue.pop() => next,
                read = reader.read(&mut nothing) => return match read {
                    Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other side"),
                    Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "the other side spoke out of turn"),
                    Err(error) => error,
                },
            };
            // Frames that wait together are written together: fewer packets, fewer wake-ups.
            let mut next = Some(first);
            while let Some((class, frame)) = next {
                framing::append(&mut buffer, &frame);
                self.metrics.frame_sent(class, frame.len());
                next = if buffer.len() < WRITE_BATCH_BYTES { self.queue.try_pop() } else { None };
            }
            let written = async {
                writer.write_all(&buffer).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                return error;
            }
            buffer.clear();
            buffer.shrink_to(2 * WRITE_BATCH_BYTES);
        }
    }
}

/// A peer that broke the rules on its stream, and how.
pub(crate) type Fault = (PeerId, String);

/// What a task needs to receive from one validator.
pub(crate) struct Reader {
    pub(crate) validator: PublicKey,
    pub(crate) peer: PeerId,
    pub(crate) frame_bytes_max: Bound,
    pub(crate) frames: mpsc::Sender<Inbound>,
    pub(crate) faults: mpsc::Sender<Fault>,
    pub(crate) status: Status,
    pub(crate) metrics: Metrics,
}

impl Reader {
    /// Accepts the stream and hands frames over until it ends. If the application does not keep up, the stream is
    /// not read, and its flow control stops the sender.
    pub(crate) async fn run(self, mut stream: Stream) {
        let accepted = async {
            stream.write_all(&[0]).await?;
            stream.flush().await
        };
        if let Err(error) = accepted.await {
            debug!(validator = %self.validator, peer = %self.peer, %error, "stream ended before it was accepted");
            return;
        }
        let mark = self.status.up(self.validator, Direction::Inbound);
        debug!(validator = %self.validator, peer = %self.peer, "stream from validator is up");
        let mut stream = BufReader::with_capacity(WRITE_BATCH_BYTES, stream);
        loop {
            match framing::read(&mut stream, &self.frame_bytes_max).await {
                Ok(bytes) => {
                    self.metrics.frame_received(bytes.len());
                    if self.frames.send(Inbound::Frame { from: self.validator, bytes }).await.is_err() {
                        break;
                    }
                }
                Err(FrameError::TooLarge(error)) => {
                    let reason = format!("it sent {error} in a frame");
                    // The event loop ends before this task does only when everything ends.
                    let _ = self.faults.send((self.peer, reason)).await;
                    break;
                }
                Err(FrameError::Io(error)) => {
                    info!(validator = %self.validator, peer = %self.peer, %error, "stream from validator ended");
                    break;
                }
            }
        }
        drop(mark);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use prometheus_client::registry::Registry;

    use super::*;

    fn queue(urgent_frames_max: usize, queue_bytes_max: usize) -> Queue {
        let limits = Limits { urgent_frames_max, ..Limits::default() };
        Queue::new(&limits, &Bound::new(queue_bytes_max), Metrics::new(&mut Registry::default()))
    }

    fn drain(queue: &Queue) -> Vec<(Class, Bytes)> {
        std::iter::from_fn(|| queue.try_pop()).collect()
    }

    fn frame(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    #[test]
    fn full_queue_drops_the_oldest_frame() {
        let queue = queue(3, 1_000);
        for byte in 0..3 {
            queue.push(Class::Urgent, frame(byte, 1));
        }
        assert_eq!(drain(&queue), [0, 1, 2].map(|byte| (Class::Urgent, frame(byte, 1))), "at the bound");
        for byte in 0..4 {
            queue.push(Class::Urgent, frame(byte, 1));
        }
        assert_eq!(drain(&queue), [1, 2, 3].map(|byte| (Class::Urgent, frame(byte, 1))), "one past it");
    }

    #[test]
    fn bytes_are_bounded_as_frames_are() {
        let queue = queue(100, 10);
        queue.push(Class::Urgent, frame(0, 4));
        queue.push(Class::Urgent, frame(1, 6));
        assert_eq!(
            drain(&queue),
            [(Class::Urgent, frame(0, 4)), (Class::Urgent, frame(1, 6))],
            "at the bound"
        );
        queue.push(Class::Urgent, frame(0, 4));
        queue.push(Class::Urgent, frame(1, 3));
        queue.push(Class::Urgent, frame(2, 4));
        assert_eq!(
            drain(&queue),
            [(Class::Urgent, frame(1, 3)), (Class::Urgent, frame(2, 4))],
            "one past it"
        );
        queue.push(Class::Urgent, frame(0, 1));
        queue.push(Class::Urgent, frame(1, 10));
        assert_eq!(drain(&queue), [(Class::Urgent, frame(1, 10))], "the new frame stays");
    }

    #[test]
    fn urgent_overtakes_bulk_and_bulk_does_not_crowd_it_out() {
        let limits = Limits { urgent_frames_max: 2, bulk_frames_max: 2, ..Limits::default() };
        let queue =
            Queue::new(&limits, &Bound::new(limits.queue_bytes_max), Metrics::new(&mut Registry::default()));
        queue.push(Class::Bulk, frame(0, 1));
        queue.push(Class::Urgent, frame(1, 1));
        queue.push(Class::Bulk, frame(2, 1));
        queue.push(Class::Bulk, frame(3, 1));
        let expected = [(Class::Urgent, frame(1, 1)), (Class::Bulk, frame(2, 1)), (Class::Bulk, frame(3, 1))];
        assert_eq!(drain(&queue), expected);
    }

    #[test]
    fn waiting_for_a_frame_takes_none_when_given_up() {
        let queue = queue(10, 1_000);
        assert!(queue.pop().now_or_never().is_none());
        queue.push(Class::Urgent, frame(1, 1));
        assert_eq!(queue.pop().now_or_never(), Some((Class::Urgent, frame(1, 1))));
        assert!(queue.pop().now_or_never().is_none(), "an old permit is not a frame");
    }
}
