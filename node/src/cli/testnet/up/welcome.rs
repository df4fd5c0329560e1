//! What `testnet up` prints once all nodes are ready: where everything is, and what to try.

use std::path::{Path, PathBuf};

use super::super::super::output;
use super::super::layout::Testnet;
use super::watch::Stay;
use crate::client::DEFAULT_URL;

/// Where everything is, and what to try.
pub(super) fn welcome(testnet: &Testnet, stay: &Stay) -> String {
    let description = &testnet.description;
    let program = program();
    let dir = output::quoted(&testnet.dir);
    let mut table = output::table(&["node", "role", "json-rpc", "log"]);
    for node in &description.nodes {
        table.add_row([
            node.name.clone(),
            if node.validator.is_some() { "validator" } else { "observer" }.to_owned(),
            node.rpc.clone(),
            node.log_file().display().to_string(),
        ]);
    }
    let mut text = format!(
        "{} nodes are ready. Chain {} {}\n\n{}\n",
        description.nodes.len(),
        description.chain,
        description.genesis_hash,
        output::lines(&table)
    );
    for account in &description.accounts {
        text.push_str(&format!("{:5}  {}  {}\n", account.name, account.address, account.key.display()));
    }
    if let (Some(first), Some(last), [alice, bob, ..]) =
        (description.nodes.first(), description.nodes.last(), description.accounts.as_slice())
    {
        let key = output::quoted(&alice.key);
        text.push_str(&format!(
            "\nTry:\n  {program} tx transfer {} 100 --key {key} --rpc {}\n  {program} query account {} --rpc {}\n  \
             {program} tx put greeting hello --key {key} --rpc {}\n",
            bob.address, first.rpc, bob.address, last.rpc, last.rpc
        ));
    }
    // The commands of this chain ask its first node, wherever that listens.
    if let Some(first) = description.nodes.first().filter(|first| first.rpc != DEFAULT_URL) {
        text.push_str(&format!(
            "\nTo leave out --rpc in this shell:\n  export QUORATE_RPC={}\n",
            output::quoted(first.rpc.as_ref())
        ));
    }
    let down = format!("{program} testnet down --dir {dir}");
    text.push_str(&match stay {
        Stay::Detached => format!("\nStop all: {down}\n"),
        Stay::OwnsAll => format!("\nState: {program} testnet status --dir {dir}\n"),
        Stay::OwnsSome(names) => format!(
            "\nThis command started {names}; the others ran already. Ctrl-C stops {names} and leaves the others running.\n\
             Stop all: {down}\n"
        ),
        Stay::OwnsNone => format!(
            "\nAll nodes ran already: this command only watches them, and Ctrl-C leaves them running.\nStop all: {down}\n"
        ),
    });
    text
}

/// How a user calls this program: by its name if that finds it, else by its path.
pub(super) fn program() -> String {
    let Ok(binary) = std::env::current_exe() else { return "quorate".to_owned() };
    if found_on_path(&binary, std::env::var_os("PATH").as_deref()) {
        return "quorate".to_owned();
    }
    output::quoted(&binary)
}

/// Whether the shell finds exactly `binary` when it is asked for by name.
fn found_on_path(binary: &Path, path: Option<&std::ffi::OsStr>) -> bool {
    let Some(name) = binary.file_name() else { return false };
    let first: Option<PathBuf> = path
        .and_then(|path| std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file()));
    let resolved = first.and_then(|file| file.canonicalize().ok());
    resolved.is_some() && resolved == binary.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    #[test]
    fn what_to_try_names_files_and_addresses_that_exist() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = super::super::make(&args(dir.path())).expect("made");
        let text = welcome(&testnet, &Stay::Detached);
        let lines: Vec<&str> = text.lines().skip_while(|line| *line != "Try:").skip(1).take(3).collect();
        assert!(lines.iter().all(|line| line.contains("--rpc http://127.0.0.1:")), "{text}");
        assert!(lines[0].contains("tx transfer qr1") && lines[0].contains("alice.pem"), "{text}");
        assert!(lines[1].contains("query account qr1"), "{text}");
        assert!(lines[2].contains("tx put greeting hello"), "{text}");
        assert!(text.contains("testnet down --dir"), "{text}");
        let first = &testnet.description.nodes[0].rpc;
        assert!(text.contains(&format!("  export QUORATE_RPC={first}\n")), "{text}");
    }

    #[test]
    fn at_the_default_address_there_is_nothing_to_export() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut testnet = super::super::make(&args(dir.path())).expect("made");
        testnet.description.nodes[0].rpc = DEFAULT_URL.to_owned();
        assert!(!welcome(&testnet, &Stay::OwnsAll).contains("QUORATE_RPC"));
    }

    #[test]
    fn a_program_is_called_by_name_only_if_the_shell_finds_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (here, other) = (dir.path().join("here"), dir.path().join("other"));
        for place in [&here, &other] {
            std::fs::create_dir(place).expect("made");
            std::fs::write(place.join("quorate"), "").expect("written");
        }
        let binary = here.join("quorate");
        let join = |dirs: &[&PathBuf]| std::env::join_paths(dirs).expect("no colons");
        assert!(found_on_path(&binary, Some(&join(&[&here, &other]))));
        assert!(!found_on_path(&binary, Some(&join(&[&other, &here]))));
        assert!(!found_on_path(&binary, None));
    }
}
