//! `quorate config show`: what is in force, and where each value comes from.

use clap::Subcommand;
use serde::Serialize;

use super::{Globals, output};
use crate::config::{Setting, Sources, load};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key with its value and the layer that set it
    Show,
}

#[derive(Serialize)]
struct Shown {
    file: String,
    settings: Vec<Setting>,
}

pub(super) fn run(globals: &Globals, command: ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show = command;
    let file = globals.home()?.config_file();
    let settings = load(Sources::of_process(file.clone(), Vec::new()))?.settings;
    let shown = Shown { file: file.display().to_string(), settings };
    output::result(globals.json, &shown, |shown| {
        let mut table = output::table(&["key", "value", "source"]);
        for setting in &shown.settings {
            let source = if setting.source == shown.file { "config.toml" } else { setting.source.as_str() };
            table.add_row([setting.key, &setting.value.to_string(), source]);
        }
        format!("{}\n\n{}", shown.file, output::lines(&table))
    })
}
