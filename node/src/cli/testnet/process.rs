//! The processes of a testnet: started, asked how they are, stopped.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::layout::{Node, Testnet};
use crate::home::Holder;

/// How long a node may take to stop after SIGTERM: it finishes what it writes.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// How long after SIGKILL the kernel may take.
const DIE_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a node may take to say whether it is ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Most bytes of such an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Most bytes read from the end of a log.
const TAIL_BYTES_MAX: u64 = 256 << 10;

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// SIGTERM: it closes its database and leaves.
    Cleanly,
    /// SIGKILL: as a power cut would.
    AtOnce,
}

/// A process that this command started.
pub(super) struct Started {
    pub(super) child: Child,
    /// How long its log was before.
    pub(super) log_begin: u64,
}

/// Starts a node's process, detached from this one: it lives on when this one ends, and a Ctrl-C at this terminal is
/// not for it.
pub(super) fn spawn(node: &Node) -> anyhow::Result<Started> {
    let binary = std::env::current_exe().context("the path of this program is unknown")?;
    let file = node.log_file();
    let unwritable = || format!("{} cannot be written", file.display());
    let log = OpenOptions::new().create(true).append(true).open(&file).with_context(unwritable)?;
    let log_begin = log.metadata().with_context(unwritable)?.len();
    let mut command = Command::new(&binary);
    command.arg("start").arg("--home").arg(&node.home);
    // What configures this command must not configure every node alike: their files say what they are.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") && name != "QUORATE_PASSPHRASE" {
            command.env_remove(name);
        }
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("the log cannot be shared")?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .with_context(|| format!("{} cannot be run", binary.display()))?;
    Ok(Started { child, log_begin })
}

/// Whether a node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It says so.
    Ready,
    /// It answers, and says why not.
    NotYet(String),
    /// Nothing answers.
    Silent(String),
}

/// Asks a node's `/readyz`.
pub(super) async fn readiness(address: SocketAddr) -> Readiness {
    match timeout(ANSWER_WITHIN, http_get(address, "/readyz")).await {
        Ok(Ok((200, _))) => Readiness::Ready,
        Ok(Ok((_, body))) => Readiness::NotYet(body.split_whitespace().collect::<Vec<_>>().join(" ")),
        Ok(Err(error)) => Readiness::Silent(error.to_string()),
        Err(_) => Readiness::Silent("no answer in time".to_owned()),
    }
}

/// Status and body of a GET. Enough of HTTP for asking our own server, which closes when asked to.
async fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP");
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    Ok((status, body.to_owned()))
}

/// Ends those of `nodes` that run; all are told before any is waited for.
pub(super) async fn stop_all(
    testnet: &Testnet,
    nodes: impl Iterator<Item = &Node> + Clone,
    how: How,
) -> anyhow::Result<()> {
    for node in nodes.clone() {
        signal(node, how)?;
    }
    for node in nodes {
        gone(testnet, node, how).await?;
    }
    Ok(())
}

/// Ends a node and waits until it is gone. One that does not run is no error.
pub(super) async fn stop(testnet: &Testnet, node: &Node, how: How) -> anyhow::Result<()> {
    signal(node, how)?;
    gone(testnet, node, how).await
}

/// The process of a node, if it runs.
pub(super) fn running(node: &Node) -> anyhow::Result<Option<Pid>> {
    match node.home().holder()? {
        Holder::Nobody => Ok(None),
        Holder::Process(pid) => Ok(Some(pid)),
        Holder::Elsewhere => Err(anyhow::anyhow!(
            "{} runs where its process cannot be seen, in another container; manage it there",
            node.name
        )),
    }
}

fn signal(node: &Node, how: How) -> anyhow::Result<()> {
    let Some(pid) = running(node)? else { return Ok(()) };
    let signal = match how {
        How::Cleanly => Signal::SIGTERM,
        How::AtOnce => Signal::SIGKILL,
    };
    match kill(pid, signal) {
        // Gone between the look and the signal: just what is wanted.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(anyhow::anyhow!("{} (process {pid}) cannot be sent {signal}: {errno}", node.name)),
    }
}

async fn gone(testnet: &Testnet, node: &Node, how: How) -> anyhow::Result<()> {
    let within = match how {
        How::Cleanly => STOP_WITHIN,
        How::AtOnce => DIE_WITHIN,
    };
    let end = Instant::now() + within;
    while let Some(pid) = running(node)? {
        if Instant::now() >= end {
            let dir = super::output::quoted(&testnet.dir);
            return Err(anyhow::anyhow!(
                "{name} (process {pid}) still runs {} s after it was told to stop; see `quorate testnet logs {name} \
                 --dir {dir}`, or end it with `quorate testnet kill {name} --dir {dir}`",
                within.as_secs(),
                name = node.name,
            ));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The last lines of a log from `begin` on, and how long it is.
pub(super) fn tail(file: &Path, begin: u64, lines: usize) -> anyhow::Result<(String, u64)> {
    let read = || -> std::io::Result<(String, u64)> {
        let mut log = std::fs::File::open(file)?;
        let length = log.metadata()?.len();
        let from = length.saturating_sub(TAIL_BYTES_MAX).max(begin.min(length));
        log.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        log.take(length - from).read_to_end(&mut end)?;
        let end = String::from_utf8_lossy(&end);
        let all: Vec<&str> = end.lines().collect();
        let text = all[all.len().saturating_sub(lines)..].iter().map(|line| format!("{line}\n")).collect();
        Ok((text, length))
    };
    read().with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.log");
        std::fs::write(&file, "one\ntwo\nthree\n").expect("written");
        assert_eq!(tail(&file, 0, 2).expect("readable"), ("two\nthree\n".to_owned(), 14));
        assert_eq!(tail(&file, 0, 9).expect("readable").0, "one\ntwo\nthree\n");
        assert_eq!(
            tail(&file, 4, 9).expect("readable").0,
            "two\nthree\n",
            "what was there before is left out"
        );
        assert_eq!(tail(&file, 99, 9).expect("readable").0, "");
        assert!(tail(&dir.path().join("none"), 0, 2).is_err());
    }

    #[test]
    fn of_a_huge_log_only_the_end_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.log");
        let line = format!("{}\n", "x".repeat(1_023));
        std::fs::write(&file, line.repeat(400)).expect("written");
        let (text, length) = tail(&file, 0, 1_000).expect("readable");
        assert_eq!(length, 400 << 10);
        assert_eq!(text.len() as u64, TAIL_BYTES_MAX);
    }

    #[tokio::test]
    async fn readiness_is_what_the_server_says() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = server.local_addr().expect("bound");
        let answers = [
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nready",
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nsyncing\n",
            "SSH-2.0-OpenSSH_9.9\r\n",
        ];
        let serve = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = server.accept().await.expect("a connection");
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await.expect("a request");
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
        });
        assert_eq!(readiness(address).await, Readiness::Ready);
        assert_eq!(readiness(address).await, Readiness::NotYet("syncing".to_owned()));
        assert!(matches!(readiness(address).await, Readiness::Silent(_)));
        serve.await.expect("all answers were given");
        assert!(matches!(readiness(address).await, Readiness::Silent(_)), "nobody listens any more");
    }
}
