//! Refusals of a document. All are the operator's to mend, so each says where, why and what is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no genesis.
#[derive(Debug)]
pub struct GenesisError {
    /// The file, if the document came from one.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// More bytes than any genesis needs.
    #[error("{bytes} bytes; at most {max} are allowed", max = crate::DOCUMENT_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Not JSON.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1; 0 where the line ended too early.
        column: usize,
        /// What the parser expected.
        reason: String,
    },
    /// A key that is unknown, missing, written twice, or has a value that it may not have.
    #[error("`{key}`: {reason}; allowed: {allowed}")]
    Value {
        /// Where in the document: `validators[2].key`.
        key: String,
        /// What is wrong.
        reason: String,
        /// What would be right.
        allowed: String,
    },
}

impl Problem {
    pub(crate) fn value(
        key: impl Into<String>,
        reason: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Problem::Value { key: key.into(), reason: reason.into(), allowed: allowed.into() }
    }
}

impl fmt::Display for GenesisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.problem),
            None => write!(f, "genesis: {}", self.problem),
        }
    }
}

impl std::error::Error for GenesisError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The problem's own words are in ours already.
        std::error::Error::source(&self.problem)
    }
}
