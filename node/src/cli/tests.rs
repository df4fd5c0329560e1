use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

/// What clap itself asserts only in builds of its own with debug assertions, which our profile leaves out.
#[test]
fn every_argument_of_a_command_has_a_name_of_its_own() {
    fn check(command: &clap::Command) {
        let mut ids: Vec<_> = command.get_arguments().map(|argument| argument.get_id().clone()).collect();
        let mut flags: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        let (count_of_ids, count_of_flags) = (ids.len(), flags.len());
        ids.sort();
        ids.dedup();
        flags.sort_unstable();
        flags.dedup();
        assert_eq!(
            (ids.len(), flags.len()),
            (count_of_ids, count_of_flags),
            "{}: {ids:?}",
            command.get_name()
        );
        command.get_subcommands().for_each(check);
    }
    let mut command = Cli::command();
    command.build();
    check(&command);
}

#[test]
fn help_shows_the_options_that_mean_something() {
    let help = |line: &str| {
        let error = super::command().try_get_matches_from(line.split(' ')).expect_err("help is no command");
        error.to_string()
    };
    let start = help("quorate start --help");
    assert!(start.contains("--home") && start.contains("--passphrase-file"), "{start}");
    assert!(!start.contains("--rpc ") && !start.contains("--json"), "{start}");
    let block = help("quorate query block --help");
    assert!(block.contains("--rpc") && block.contains("--json"), "{block}");
    assert!(!block.contains("--home") && !block.contains("--passphrase-file"), "{block}");
    let ready = help("quorate query ready --help");
    assert!(ready.contains("--home") && ready.contains("--rpc"), "{ready}");
    let all = help("quorate --help");
    for (option, commands) in super::MEANT_FOR {
        assert!(all.contains(&format!("--{}", option.replace('_', "-"))), "{option}: {all}");
        for command in commands {
            let whole = super::command();
            let found = command.split(' ').try_fold(&whole, |command, name| command.find_subcommand(name));
            assert!(found.is_some(), "{command}");
        }
    }
}

#[test]
fn an_option_that_is_not_shown_is_taken_all_the_same() {
    let line = "quorate start --json --rpc http://x:1 --home /tmp/home";
    super::command().try_get_matches_from(line.split(' ')).expect("taken");
}

#[test]
fn what_the_interface_promises_is_understood() {
    let address = "qr1gwnjuu2yq9mzmantdrpxm77ly6p24myly36wefrp8epy5ra6l57qu8gycm";
    let key = "0x3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    let lines = [
        "quorate testnet up",
        "quorate testnet up --validators 7 --observers 1 --dir /tmp/net --base-port 0 --detach",
        "quorate testnet status --dir /tmp/net --json",
        "quorate testnet down",
        "quorate testnet stop node2 --dir /tmp/net",
        "quorate testnet kill 2",
        "quorate testnet start node2",
        "quorate testnet logs node2 --follow",
        "quorate testnet reset",
        "quorate init --genesis genesis.json --validator --home /tmp/home",
        "quorate init --validator",
        "quorate start --home /tmp/home --rpc-listen 127.0.0.1:0",
        "quorate genesis check genesis.json",
        "quorate genesis hash genesis.json",
        "quorate key generate alice.pem",
        "quorate key show alice.pem --json",
        "quorate key encrypt alice.pem --passphrase-file word",
        "quorate key decrypt alice.pem",
        &format!("quorate tx transfer {address} 100 --key alice.pem --fee 1 --expires-in 10s --no-wait"),
        "quorate tx put greeting hello --key alice.pem --out signed.bin",
        "quorate tx put greeting 0x00 --key alice.pem --if-absent",
        "quorate tx delete greeting --key alice.pem --if-version 18446744073709551616",
        "quorate tx send signed.bin",
        "quorate tx batch payments.txt --key alice.pem --expires-in 10s --no-wait",
        "quorate tx batch - --key alice.pem",
        "quorate tx show 0x00",
        "quorate query status --rpc http://127.0.0.1:7611",
        "quorate query block 7",
        "quorate query block",
        "quorate query tx signed.bin",
        &format!("quorate query account {address} --min-height 7"),
        "quorate query key greeting",
        "quorate query validators --height 7",
        "quorate query parameters --height 7",
        "quorate query ready --home /tmp/home",
        "quorate query epochs --out /tmp/epochs.json",
        &format!("quorate tx approve validators --remove {key} --remove {key} --key validator.pem --fee 0"),
        &format!("quorate tx approve validators --add {key} --add {key} --remove {key} --key validator.pem"),
        &format!("quorate tx approve validators --set {key} --set {key} --key validator.pem"),
        "quorate tx approve validators --same --key validator.pem",
        "quorate tx approve parameters batch_delay_ms=20 fee_base=1 --key validator.pem",
        "quorate evidence verify proof --genesis genesis.json --epochs epochs.json",
        "quorate query evidence --out /tmp/proofs",
        "quorate evidence verify proof --genesis genesis.json",
        "quorate config show",
    ];
    for line in lines {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn mistakes_are_refused_before_anything_is_done() {
    let lines = [
        "quorate",
        "quorate strat",
        "quorate init",
        "quorate tx transfer qr1nobody 100 --key alice.pem",
        "quorate tx transfer qr1gwnjuu2yq9mzmantdrpxm77ly6p24myly36wefrp8epy5ra6l57qu8gycm 1.5 --key alice.pem",
        "quorate tx put greeting hello",
        "quorate tx put greeting hello --key a.pem --if-absent --if-version 1",
        "quorate tx put greeting hello --key a.pem --out f --no-wait",
        "quorate tx put greeting hello --key a.pem --expires-in soon",
        "quorate tx approve validators --key v.pem",
        "quorate tx approve validators --same --add ready:0x00 --key v.pem",
        "quorate tx approve validators --add node4 --key v.pem",
        "quorate tx approve parameters --key v.pem",
        "quorate tx approve parameters window --key v.pem",
        "quorate query block newest",
        "quorate query account alice",
        "quorate testnet up --base-port 65536",
        "quorate genesis new --name x",
    ];
    for line in lines {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn options_of_all_commands_stand_before_or_after() {
    for line in
        ["quorate --json --rpc http://x:1 query status", "quorate query status --json --rpc http://x:1"]
    {
        let cli = parse(line).expect("well formed");
        assert!(cli.globals.json);
        assert_eq!(cli.globals.rpc, "http://x:1");
        assert!(matches!(cli.command, Command::Query(_)));
    }
}
