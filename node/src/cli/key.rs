//! `quorate key`: key files, PKCS#8 PEM that stock `openssl pkey` reads. The secret itself is never shown.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use quorate_crypto::{
    PublicKey, SecretKey,
    durable::{directory_of, sync_directory},
    is_key_file_encrypted, write_key_file,
};
use quorate_ledger::Account;
use serde::Serialize;

use super::{Globals, output, passphrase};
use crate::exit::usage;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a new key; encrypted if a passphrase is given
    Generate(GenerateArgs),
    /// Print the account address and public key of a key file
    Show(FileArgs),
    /// Encrypt a key file in place with a passphrase
    Encrypt(FileArgs),
    /// Decrypt a key file in place
    Decrypt(FileArgs),
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Where to write it; nothing is overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Ask for a passphrase if none is given by --passphrase-file or QUORATE_PASSPHRASE
    #[arg(long)]
    encrypt: bool,
}

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What may be known of a key.
#[derive(Serialize)]
struct Shown {
    address: Account,
    public_key: PublicKey,
    file: String,
    encrypted: bool,
}

pub(super) fn run(globals: &Globals, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Generate(args) => {
            let passphrase =
                if args.encrypt { Some(passphrase::chosen(globals)?) } else { passphrase::given(globals)? };
            let key = SecretKey::generate();
            write_key_file(&args.file, &key, passphrase.as_ref().map(|text| text.as_str()))?;
            show(globals, &args.file, &key, passphrase.is_some())
        }
        KeyCommand::Show(args) => {
            let encrypted = is_key_file_encrypted(&args.file)?;
            show(globals, &args.file, &passphrase::read_key(globals, &args.file)?, encrypted)
        }
        KeyCommand::Encrypt(args) => {
            if is_key_file_encrypted(&args.file)? {
                let file = args.file.display();
                return Err(usage(format!(
                    "{file} is encrypted already; `quorate key decrypt` it first to change the passphrase"
                )));
            }
            let key = passphrase::read_key(globals, &args.file)?;
            let passphrase = passphrase::chosen(globals)?;
            replace(&args.file, &key, Some(&passphrase))?;
            show(globals, &args.file, &key, true)
        }
        KeyCommand::Decrypt(args) => {
            if !is_key_file_encrypted(&args.file)? {
                return Err(usage(format!("{} is not encrypted", args.file.display())));
            }
            let key = passphrase::read_key(globals, &args.file)?;
            replace(&args.file, &key, None)?;
            show(globals, &args.file, &key, false)
        }
    }
}

/// Writes the key beside its file and renames it over: a crash leaves the one or the other, never neither.
fn replace(file: &Path, key: &SecretKey, passphrase: Option<&str>) -> anyhow::Result<()> {
    let name = file.file_name().context("the path of a file ends in its name")?;
    let mut draft = name.to_os_string();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = file.with_file_name(draft);
    write_key_file(&draft, key, passphrase)?;
    std::fs::rename(&draft, file).with_context(|| format!("{} cannot be replaced", file.display()))?;
    let directory = directory_of(file);
    sync_directory(directory).with_context(|| format!("{} cannot be synced", directory.display()))
}

fn show(globals: &Globals, file: &Path, key: &SecretKey, encrypted: bool) -> anyhow::Result<()> {
    let public_key = key.public();
    let shown =
        Shown { address: Account(public_key), public_key, file: file.display().to_string(), encrypted };
    output::result(globals.json, &shown, |shown| {
        output::pairs(&[
            ("address", shown.address.to_string()),
            ("public key", shown.public_key.to_string()),
            ("file", format!("{}{}", shown.file, if shown.encrypted { " (encrypted)" } else { "" })),
        ])
    })
}
