//! Passphrases of key files: from `--passphrase-file`, from `QUORATE_PASSPHRASE`, or typed at a terminal without echo.

use std::io::IsTerminal;
use std::path::Path;

use quorate_crypto::{SecretKey, is_key_file_encrypted, read_key_file};
use zeroize::Zeroizing;

use super::Globals;
use crate::exit::usage;

/// The variable that holds a passphrase.
const VARIABLE: &str = "QUORATE_PASSPHRASE";

/// Reads a key file, asking for its passphrase only if it is encrypted.
pub(super) fn read_key(globals: &Globals, file: &Path) -> anyhow::Result<SecretKey> {
    if !is_key_file_encrypted(file)? {
        return Ok(read_key_file(file, None)?);
    }
    let passphrase = match given(globals)? {
        Some(passphrase) => passphrase,
        None => {
            ask(&format!("Passphrase of {}: ", file.display()), &format!("{} is encrypted", file.display()))?
        }
    };
    Ok(read_key_file(file, Some(&passphrase))?)
}

/// The passphrase that was given without asking.
pub(super) fn given(globals: &Globals) -> anyhow::Result<Option<Zeroizing<String>>> {
    if let Some(file) = &globals.passphrase_file {
        let text = Zeroizing::new(
            std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?,
        );
        let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        if line.is_empty() {
            return Err(usage(format!(
                "{}: the first line, which is the passphrase, is empty",
                file.display()
            )));
        }
        return Ok(Some(line));
    }
    match std::env::var(VARIABLE) {
        Ok(passphrase) if passphrase.is_empty() => {
            Err(usage(format!("{VARIABLE} is set but empty; unset it")))
        }
        Ok(passphrase) => Ok(Some(Zeroizing::new(passphrase))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(usage(format!("{VARIABLE} is not UTF-8"))),
    }
}

/// A passphrase for a file to be written: as given, or asked for twice.
pub(super) fn chosen(globals: &Globals) -> anyhow::Result<Zeroizing<String>> {
    if let Some(passphrase) = given(globals)? {
        return Ok(passphrase);
    }
    let first = ask("New passphrase: ", "a passphrase is needed")?;
    if first.is_empty() {
        return Err(usage("the passphrase is empty; choose one"));
    }
    let second = ask("The same again: ", "a passphrase is needed")?;
    if *first != *second {
        return Err(usage("the two passphrases differ; nothing was written, try again"));
    }
    Ok(first)
}

fn ask(prompt: &str, why: &str) -> anyhow::Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(usage(format!(
            "{why}, and there is no terminal to ask at; set {VARIABLE} or give --passphrase-file FILE"
        )));
    }
    Ok(Zeroizing::new(rpassword::prompt_password(prompt)?))
}
