//! The binary under test, and its commands.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

/// How long a command may take before something is wrong.
const COMMAND_WITHIN: Duration = Duration::from_secs(300);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Everything else it said.
    pub stderr: String,
}

impl Finished {
    /// Its results, if it was successful.
    ///
    /// # Panics
    /// If it was not.
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// The one JSON value it printed, if it was successful.
    ///
    /// # Panics
    /// If it was not, or printed something else.
    pub fn json(self) -> Value {
        let line = self.line.clone();
        let stdout = self.success();
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}:\n{stdout}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "{line}\nexit code: {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// The binary: what `QUORATE_BIN` names, else the one that is built here and now, in the profile of the tests.
///
/// # Panics
/// If there is none and none can be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("QUORATE_BIN") {
        Some(path) => {
            let path = std::path::absolute(path).expect("a current directory");
            assert!(path.is_file(), "QUORATE_BIN is {}, which is no file", path.display());
            path
        }
        None => build(),
    })
}

/// Builds it and asks cargo where it is.
fn build() -> PathBuf {
    let output = BlockingCommand::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "quorate-node",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the binary cannot be built; QUORATE_BIN may name one");
    let messages = String::from_utf8(output.stdout).expect("cargo writes JSON");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "quorate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where the binary is")
}

/// A command of the binary, which nothing in the environment of the tests configures.
#[must_use]
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    configuration().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// The variables of this environment that would configure a node, or say how it is tested.
pub fn configuration() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_string_lossy().starts_with("QUORATE_"))
}

/// Runs a command of the binary to its end.
pub async fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    finish(command(arguments)).await
}

/// Runs a command line as a shell does in which somebody has pasted it.
pub async fn paste(line: &str) -> Finished {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).stdin(Stdio::null()).kill_on_drop(true);
    finish(command).await
}

/// An address of this machine at which nobody listens.
///
/// # Panics
/// If there is none.
pub async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// Runs any command to its end.
///
/// # Panics
/// If it cannot be run, or takes too long.
pub async fn finish(mut command: Command) -> Finished {
    let line = format!("{:?}", command.as_std());
    let output = tokio::time::timeout(COMMAND_WITHIN, command.output())
        .await
        .unwrap_or_else(|_| panic!("{line}: not done within {} s", COMMAND_WITHIN.as_secs()))
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { line, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
