use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

/// What fits between the two ends.
const PIPE: usize = 16;

#[tokio::test(start_paused = true)]
async fn nothing_is_read_from_a_peer_that_does_not_read() {
    let (near, mut far) = duplex(PIPE);
    let mut socket = Socket::new(near);
    far.write_all(b"ask").await.expect("fits");
    socket.write_all(&[0; PIPE]).await.expect("fits exactly");

    // One byte past what fits: the write waits, and from then on so does every read.
    poll_fn(|cx| {
        assert!(Pin::new(&mut socket).poll_write(cx, &[1]).is_pending());
        let mut bytes = [0; 3];
        assert!(Pin::new(&mut socket).poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_pending());
        Poll::Ready(())
    })
    .await;

    // The peer reads: both go on.
    let mut taken = [0; PIPE];
    far.read_exact(&mut taken).await.expect("there");
    socket.write_all(&[1]).await.expect("flows again");
    let mut asked = [0; 3];
    socket.read_exact(&mut asked).await.expect("there");
    assert_eq!(&asked, b"ask");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_loses_the_connection() {
    let (near, _far) = duplex(PIPE);
    let mut socket = Socket::new(near);
    let started = Instant::now();
    let error = socket.write_all(&[0; PIPE + 1]).await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() >= STALL_MAX);
}
