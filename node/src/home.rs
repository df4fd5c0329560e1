//! A node's home directory: where everything is, and the lock that lets one process run in it.
//!
//! ```text
//! HOME/config/config.toml      see `config`
//!            /genesis.json     the chain
//!            /node.pem         this node's identity towards peers
//!            /validator.pem    the key it votes with, on a validator
//!            /validator.mark   what that key has promised (docs/pbft.md §6)
//!     /data/ledger             RocksDB
//!          /votes              the engine's own log; no backup carries it
//!          /announcement       sequence number of the last announcement
//!          /evidence/          proofs that validators broke the protocol, a file each
//!     /lock                    held by the running process
//! ```
//!
//! The lock is a POSIX record lock: the kernel drops it when its process ends, however that ends, and names the
//! holder to whoever asks. So "does a node run here, and which process is it" needs no pid file that could be stale
//! and name a stranger.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::Pid;
use quorate_genesis::Genesis;

/// A home directory; it need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    dir: PathBuf,
}

/// The right to run in a home, held until dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

/// Who runs in a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// The process of this id, by the kernel's word.
    Process(Pid),
    /// A process that this one cannot see: in another container.
    Elsewhere,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// Not made, or not made whole.
    #[error("{} is missing; make the home with `quorate init --home {} --genesis FILE`", path.display(), home.display())]
    Missing {
        /// The file that is not there.
        path: PathBuf,
        /// The home.
        home: PathBuf,
    },
    /// Another process runs in it.
    #[error("{} is in use by process {pid}; stop it first, or give this node another --home", home.display())]
    InUse {
        /// The home.
        home: PathBuf,
        /// Its holder.
        pid: String,
    },
    /// The machine refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
}

impl Home {
    /// The home in `dir`.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Home { dir: dir.into() }
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config/`.
    pub(crate) fn config_dir(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// `config/config.toml`.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config_dir().join("config.toml")
    }

    /// `config/genesis.json`.
    pub(crate) fn genesis_file(&self) -> PathBuf {
        self.config_dir().join("genesis.json")
    }

    /// `config/node.pem`: the identity towards peers.
    pub(crate) fn node_key_file(&self) -> PathBuf {
        self.config_dir().join("node.pem")
    }

    /// `config/validator.pem`: the key that votes; absent on an observer.
    pub(crate) fn validator_key_file(&self) -> PathBuf {
        self.config_dir().join("validator.pem")
    }

    /// `config/validator.mark`: what the validator key has promised.
    pub(crate) fn validator_mark_file(&self) -> PathBuf {
        self.config_dir().join("validator.mark")
    }

    /// `data/`: all that a reset drops.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// `data/ledger`: blocks and state.
    pub(crate) fn ledger_dir(&self) -> PathBuf {
        self.data_dir().join("ledger")
    }

    /// `data/votes`: where the engine's log is.
    pub(crate) fn votes_dir(&self) -> PathBuf {
        self.data_dir().join("votes")
    }

    /// `data/announcement`: sequence of the last announcement signed.
    pub(crate) fn announcement_file(&self) -> PathBuf {
        self.data_dir().join("announcement")
    }

    /// `data/evidence`: proofs that validators broke the protocol.
    pub(crate) fn evidence_dir(&self) -> PathBuf {
        self.data_dir().join("evidence")
    }

    /// `lock`: held while a process runs here.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Makes the directories; what is there stays.
    pub(crate) fn create(&self) -> Result<(), HomeError> {
        for dir in [self.config_dir(), self.data_dir()] {
            // Keys live here: nobody else needs to look in.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|source| HomeError::Io { path: dir, source })?;
        }
        Ok(())
    }

    /// Fails, naming the file, unless the home has what every node needs.
    pub(crate) fn check(&self) -> Result<(), HomeError> {
        for path in [self.genesis_file(), self.node_key_file()] {
            if !path.exists() {
                return Err(HomeError::Missing { path, home: self.dir.clone() });
            }
        }
        Ok(())
    }

    /// The chain's genesis document.
    pub(crate) fn genesis(&self) -> anyhow::Result<Genesis> {
        self.check()?;
        Ok(Genesis::load(&self.genesis_file())?)
    }

    /// Takes the right to run here, for as long as the value lives.
    pub(crate) fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.lock_file();
        let io = |source| HomeError::Io { path: path.clone(), source };
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    HomeError::Missing { path: self.dir.clone(), home: self.dir.clone() }
                } else {
                    io(error)
                }
            })?;
        let Err(errno) = fcntl(&file, FcntlArg::F_SETLK(&whole_file(libc::F_WRLCK))) else {
            return Ok(HomeLock { _file: file });
        };
        if !matches!(errno, Errno::EAGAIN | Errno::EACCES) {
            return Err(io(errno.into()));
        }
        let pid = match self.holder()? {
            Holder::Process(pid) => pid.to_string(),
            Holder::Nobody | Holder::Elsewhere => "unknown to this machine".to_owned(),
        };
        Err(HomeError::InUse { home: self.dir.clone(), pid })
    }

    /// Who runs here now. Asks the kernel, takes nothing: safe at any moment.
    ///
    /// A process is not told of its own lock.
    pub(crate) fn holder(&self) -> Result<Holder, HomeError> {
        let path = self.lock_file();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(source) => return Err(HomeError::Io { path, source }),
        };
        let mut query = whole_file(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_GETLK(&mut query))
            .map_err(|errno| HomeError::Io { path, source: errno.into() })?;
        Ok(if i32::from(query.l_type) == libc::F_UNLCK {
            Holder::Nobody
        } else if query.l_pid > 0 {
            Holder::Process(Pid::from_raw(query.l_pid))
        } else {
            Holder::Elsewhere
        })
    }
}

/// A lock of `kind` over a whole file.
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).expect("lock kinds are small numbers"),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(dir.path().join("home"));
        (dir, home)
    }

    #[test]
    fn a_home_that_was_not_made_says_how_to_make_it() {
        let (_dir, home) = home();
        let error = home.lock().expect_err("no directory").to_string();
        assert!(error.contains("quorate init --home"), "{error}");
        home.create().expect("directories");
        let error = home.check().expect_err("no genesis").to_string();
        assert!(error.contains("genesis.json is missing"), "{error}");
    }

    #[test]
    fn directories_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, home) = home();
        home.create().expect("directories");
        home.create().expect("again: what is there stays");
        let mode = std::fs::metadata(home.config_dir()).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn nobody_holds_a_home_at_rest() {
        let (_dir, home) = home();
        assert_eq!(home.holder().expect("no file"), Holder::Nobody);
        home.create().expect("directories");
        drop(home.lock().expect("free"));
        assert_eq!(home.holder().expect("released"), Holder::Nobody);
        home.lock().expect("free again");
    }
}
