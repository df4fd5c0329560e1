//! What makes a network leave nothing behind, and keeps two of them apart.
//!
//! The cleaning up is done by a process of its own ([`Reaper`]), which a pipe tells of the end of the tests, whatever that
//! end is: a test that passes or panics, Ctrl-C, SIGKILL. There is no other way of cleaning up.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::unistd::getuid;

use crate::program;

/// Set to anything, it keeps the directories for a look at logs and data.
const KEEP: &str = "QUORATE_KEEP";

/// Kills the nodes of a testnet and removes its directory once this process has let go of a pipe, as it does whichever
/// way it ends.
///
/// `testnet kill` asks the kernel which process holds a home, so it never hits a stranger.
#[derive(Debug)]
pub(super) struct Reaper(Child);

/// `$1` the program, `$2` the testnet, `$3` what to remove.
const REAP: &str = r#"
cat > /dev/null
for home in "$2"/node*; do
    "$1" testnet kill "${home##*/}" --dir "$2"
done
[ -z "$3" ] || rm -rf -- "$3"
"#;

impl Reaper {
    pub(super) fn of(root: &Path, dir: &Path) -> Self {
        let kept = std::env::var_os(KEEP).is_some();
        if kept {
            let _ = writeln!(std::io::stderr(), "{KEEP}: {} stays", root.display());
        }
        let mut command = Command::new("sh");
        command.args(["-c", REAP, "reaper"]).arg(program::path()).arg(dir);
        command.arg(if kept { Path::new("") } else { root });
        // A process group of its own: a Ctrl-C that ends the tests is not for it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(command.spawn().expect("sh runs"))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing to be done about an error here: the reaper goes on by itself.
        let _ = self.0.wait();
    }
}

/// One network at a time on a machine: two would take each other's time, and the ports of nodes that are down. The lock
/// is the kernel's, which releases it whichever way its holder ends.
pub(super) fn turn() -> File {
    let path = std::env::temp_dir().join(format!("quorate-e2e-{}.lock", getuid()));
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file
}
