//! A node that joins a running network as its operator adds one: `init --validator`, `start` with a peer to dial first.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_tests::client::Client;
use quorate_tests::program;
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, until};

/// Runs `$@` with its log in `$LOG` until the other end of standard input is gone, as it is whichever way the test ends.
const KEEP: &str = r#"
"$@" < /dev/null 2>> "$LOG" &
pid=$!
echo started
cat > /dev/null
kill -9 "$pid"
wait
"#;

/// A node that is no part of the testnet's directory.
#[derive(Debug)]
pub(super) struct Joiner {
    home: PathBuf,
    key: String,
    client: Client,
    rpc: String,
    _process: Process,
}

#[derive(Debug)]
struct Process(Child);

impl Joiner {
    /// Makes a home with a validator key, starts its node, and waits until that has caught up.
    pub(super) async fn start(testnet: &Testnet, name: &str) -> Self {
        let home = testnet.dir().join(name);
        let at = home.to_string_lossy();
        let genesis = testnet.genesis_file();
        let made = ["init", "--validator", "--genesis", &genesis.to_string_lossy(), "--home", &at, "--json"];
        let made = program::run(made).await.json();
        assert_eq!(made["in_genesis"], false, "{made}");
        let key = made["validator"].as_str().expect("a key").to_owned();
        let process = Process::start(&home, &testnet.nodes()[0].p2p);
        let rpc = until("the node serves JSON-RPC", SOON, async || served_at(&home)).await;
        let rpc = format!("http://{rpc}");
        let joiner = Self { home, key, client: Client::new(&rpc), rpc, _process: process };
        until("the node has caught up", SOON, async || joiner.client.is_ready().await).await;
        joiner
    }

    /// Its validator key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The file of that key.
    pub(super) fn key_file(&self) -> PathBuf {
        self.home.join("config/validator.pem")
    }

    /// Its JSON-RPC.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The URL of that.
    pub(super) fn rpc(&self) -> &str {
        &self.rpc
    }

    /// Everything that its node has logged.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(log(&self.home)).expect("it logs")).into_owned()
    }

    /// What it says to those who are to approve of it.
    pub(super) async fn statement(&self) -> String {
        let home = self.home.to_string_lossy();
        // Under load it may be behind again for a moment.
        until("the node makes a statement", SOON, async || {
            let asked = program::run(["query", "ready", "--home", &home, "--rpc", &self.rpc]).await;
            if asked.code == Some(0) { Ok(asked.stdout.trim().to_owned()) } else { Err(asked.stderr) }
        })
        .await
    }
}

impl Process {
    fn start(home: &Path, peer: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", KEEP, "keeper"]).arg(program::path()).arg("start");
        command.arg("--home").arg(home).args(["--bootstrap", peer]);
        command.args(["--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--rpc-listen", "127.0.0.1:0"]);
        command.env("LOG", log(home)).env("NO_COLOR", "1");
        program::configuration().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("sh runs");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("readable");
        assert_eq!(said, "started\n");
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing to be done about an error here: the keeper ends by itself.
        let _ = self.0.wait();
    }
}

fn log(home: &Path) -> PathBuf {
    home.join("node.log")
}

/// The address that the node logs once it listens there; before, what it has logged.
fn served_at(home: &Path) -> Result<String, String> {
    let bytes = std::fs::read(log(home)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().find(|line| line.contains("JSON-RPC is served"));
    let address = line.and_then(|line| line.split("address=").nth(1)).map(|rest| rest.trim().to_owned());
    address.ok_or(text)
}
