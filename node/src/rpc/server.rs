//! Accepts connections, up to a limit, and drives each until it ends or the server stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::ServerHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tower::Service;

use super::socket::Socket;
use super::stopped;
use super::verify::Source;

/// How long the head of a request may take; also how long a connection may be idle between two.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of a request.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long calls in hand may take to end when the server stops.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted, which is when the machine has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection over the limit is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: text/plain\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// A listening server.
pub(crate) struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    /// Ends the WebSockets, which the library drives.
    web_sockets: ServerHandle,
    accepting: JoinHandle<()>,
}

/// One of so many connections. It travels with the requests, so that a WebSocket, which outlives the connection it was
/// made from, still counts.
#[derive(Clone)]
struct Permit {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Server {
    /// Serves a router on a listener. `stopping` becomes true when the server stops.
    pub(crate) fn start(
        listener: TcpListener,
        router: Router,
        connections_max: u32,
        stopping: watch::Sender<bool>,
        web_sockets: ServerHandle,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, router, connections_max, stopping.subscribe()));
        Ok(Self { address, stopping, web_sockets, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, ends what waits, lets calls in hand end, and returns when all connections are closed or
    /// [`STOP_GRACE`] is over.
    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        // An error says that it was stopped before.
        let _ = self.web_sockets.stop();
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the JSON-RPC server failed");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections_max: u32,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(connections_max as usize));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => break,
        };
        match accepted {
            Ok((stream, remote)) => match connections.clone().try_acquire_owned() {
                Ok(permit) => {
                    let permit = Permit { _permit: Arc::new(permit) };
                    tokio::spawn(drive(stream, remote, router.clone(), permit, stopping.clone()));
                }
                Err(_) => refuse(&stream, remote),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(STOP_GRACE, connections.acquire_many(connections_max)).await.is_err() {
        tracing::warn!("some connections did not end in time and are dropped");
    }
}

/// Tells a connection over the limit so, as far as that is possible without waiting for it.
fn refuse(stream: &TcpStream, remote: SocketAddr) {
    tracing::debug!(%remote, "refused: as many connections as `rpc.connections_max` allows");
    // It may be gone already; nothing depends on its hearing this.
    let _ = stream.try_write(FULL);
}

async fn drive(
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    permit: Permit,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are written whole: waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "lost before it could be set up");
        return;
    }
    let source = Source::of(remote.ip());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(source);
        request.extensions_mut().insert(permit.clone());
        let mut router = router.clone();
        async move {
            let response: Result<_, Infallible> = router.call(request.map(Body::new)).await;
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Socket::new(stream)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "a connection ended");
    }
}
