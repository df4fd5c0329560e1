//! How a command ends: exit codes are a promise to scripts (0 ok, 1 failed, 2 usage or configuration, 3 data damaged,
//! 4 consensus fault).

use std::process::ExitCode;

use quorate_crypto::KeyFileError;
use quorate_genesis::GenesisError;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::home::HomeError;

/// An error whose kind a script needs to tell apart from plain failure. Anything else that a command returns is a
/// plain failure, code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The command line, a file it names or the configuration is wrong: nothing was done. Code 2.
    #[error("{0}")]
    Usage(String),
    /// Stored data contradicts itself: keep it, and read what is said. Code 3.
    #[error("{0}")]
    Damaged(String),
    /// Validators contradict each other, or this node: nothing more is signed. Code 4.
    #[error("{0}")]
    Consensus(String),
}

/// Shorthand for refusing a command line or what it names.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Fault::Usage(message.into()).into()
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(number(error))
}

/// In which form a command speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// To people.
    Words,
    /// To programs.
    Json,
}

/// What a command that failed says last, on stderr: a line of words, or one line of JSON.
pub(crate) fn told(error: &anyhow::Error, form: Form) -> String {
    match form {
        Form::Words => format!("error: {}", words(error)),
        Form::Json => json(number(error), &words(error), reason(error)),
    }
}

/// A failure as one line of JSON.
pub(crate) fn json(code: u8, message: &str, reason: Option<&str>) -> String {
    let mut error = serde_json::json!({ "code": code, "message": message });
    if let Some(reason) = reason {
        error["reason"] = reason.into();
    }
    serde_json::json!({ "error": error }).to_string()
}

/// The node's word for a refusal (`docs/json-rpc.md`).
fn reason(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| match cause.downcast_ref::<ClientError>()? {
        ClientError::Refused { reason, .. } => reason.as_deref(),
        ClientError::Url { .. }
        | ClientError::NoAnswer { .. }
        | ClientError::Impossible { .. }
        | ClientError::Unreadable { .. } => None,
    })
}

/// An error in words: each cause once, also where a cause repeats the words of the next.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if words.is_empty() {
            words = text;
        } else if !words.ends_with(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    words
}

/// The exit code of an error, as a number.
pub(crate) fn number(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return match fault {
                Fault::Usage(_) => 2,
                Fault::Damaged(_) => 3,
                Fault::Consensus(_) => 4,
            };
        }
        if cause.is::<ConfigError>() || cause.is::<GenesisError>() || cause.is::<KeyFileError>() {
            return 2;
        }
        if let Some(error) = cause.downcast_ref::<HomeError>() {
            return match error {
                HomeError::Missing { .. } => 2,
                HomeError::InUse { .. } | HomeError::Io { .. } => 1,
            };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn each_kind_has_its_code() {
        assert_eq!(number(&anyhow::anyhow!("no node answers")), 1);
        assert_eq!(number(&usage("bad amount")), 2);
        assert_eq!(number(&Fault::Damaged("block 7".to_owned()).into()), 3);
        assert_eq!(number(&Fault::Consensus("two certificates".to_owned()).into()), 4);
    }

    #[test]
    fn context_does_not_hide_the_code() {
        let error =
            Err::<(), _>(Fault::Damaged("block 7".to_owned())).context("starting").expect_err("an error");
        assert_eq!(number(&error), 3);
    }

    #[test]
    fn a_program_is_told_the_code_the_words_and_the_reason() {
        let refused = ClientError::Refused {
            code: -32_031,
            reason: Some("EXPIRED".to_owned()),
            message: "too late".to_owned(),
        };
        let error = anyhow::Error::from(refused).context("sending");
        let told = told(&error, Form::Json);
        let shown: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let expected = serde_json::json!({
            "error": { "code": 1, "message": words(&error), "reason": "EXPIRED" }
        });
        assert_eq!(shown, expected);
        assert!(!told.contains('\n'), "one line: {told}");
        let plain: serde_json::Value = serde_json::from_str(&json(2, "no \"such\" key", None)).expect("JSON");
        assert_eq!(plain, serde_json::json!({ "error": { "code": 2, "message": "no \"such\" key" } }));
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("No such file").context("genesis.json: No such file").context("starting");
        assert_eq!(words(&error), "starting: genesis.json: No such file");
    }
}
