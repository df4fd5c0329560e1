//! `quorate tx batch`: a transaction for each line of a file, many on their way at once, and a line of what became of each.
//!
//! Nothing is sent before every line is understood. Lines do not wait for each other: whoever needs one executed before
//! another puts them into two files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use futures::{StreamExt as _, stream};
use quorate_crypto::{Hash, encode};
use quorate_ledger::{Operation, Transaction};
use serde::Serialize;

use super::super::{Globals, block_on, output};
use super::send::{PAUSE, WaitingArgs, outcome};
use super::{Chain, DeleteArgs, PutArgs, Signer, TermsArgs, TransferArgs, status};
use crate::client::{Client, ClientError};
use crate::exit::{self, usage};
use crate::rpc::types::TransactionStatus;

/// Transactions on their way at a time.
const UNDER_WAY_MAX: usize = 256;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct BatchArgs {
    /// The file; - for standard input
    file: PathBuf,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    waiting: WaitingArgs,
}

/// A line as it is read.
#[derive(Debug, Parser)]
#[command(name = "line", no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Transfer(TransferArgs),
    Put(PutArgs),
    Delete(DeleteArgs),
}

/// What became of a line.
#[derive(Debug, Serialize)]
struct Told {
    /// Its number in the file, from 1.
    line: usize,
    id: Hash,
    #[serde(flatten)]
    end: End,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    /// The node has taken it, and nobody waited.
    Taken,
    /// As the node told.
    Transaction(Box<TransactionStatus>),
    /// It was refused, or the node did not answer.
    Error(String),
}

pub(super) fn run(globals: &Globals, args: &BatchArgs) -> anyhow::Result<()> {
    let lines = parse(&read(&args.file)?, &args.file)?;
    let chain = Chain::learn(globals, None)?;
    let signer = Signer::new(globals, chain, &args.terms)?;
    let client = globals.client()?;
    let told = block_on(async {
        let ends = lines.into_iter().map(|(line, operations)| {
            let (signer, client, waiting) = (&signer, &client, &args.waiting);
            async move {
                // Its time begins when it is its turn.
                let transaction = signer.sign(operations, None)?;
                let end = send(client, waiting, &transaction).await;
                Ok::<_, anyhow::Error>(Told { line, id: transaction.id(), end })
            }
        });
        let mut ends = stream::iter(ends).buffered(UNDER_WAY_MAX);
        let mut all = Vec::new();
        while let Some(told) = ends.next().await {
            let told = told?;
            if !globals.json {
                output::write(std::io::stdout().lock(), &format!("{}\n", told.text()))?;
            }
            all.push(told);
        }
        Ok(all)
    })?;
    if globals.json {
        output::result(true, &told, |_| String::new())?;
    }
    let failed = told.iter().filter(|told| !told.is_success()).count();
    if failed > 0 {
        return Err(anyhow::anyhow!(
            "{failed} of {} transactions were not executed successfully",
            told.len()
        ));
    }
    Ok(())
}

/// Submits one, waits as long as the pool is full, and then for the outcome.
async fn send(client: &Client, waiting: &WaitingArgs, transaction: &Transaction) -> End {
    let until = Instant::now() + waiting.timeout;
    loop {
        let bytes = encode(transaction);
        let end = if waiting.no_wait {
            client.submit(bytes).await.map(|_| End::Taken).map_err(anyhow::Error::from)
        } else {
            let status = outcome(client, bytes, until.saturating_duration_since(Instant::now())).await;
            status.map(|status| End::Transaction(Box::new(status)))
        };
        match end {
            Ok(end) => return end,
            Err(error) if is_full(&error) && Instant::now() < until => tokio::time::sleep(PAUSE).await,
            Err(error) => return End::Error(exit::words(&error)),
        }
    }
}

/// Whether the node would take it once others are done.
fn is_full(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<ClientError>();
    refused.is_some_and(|refused| match refused {
        ClientError::Refused { reason, .. } => {
            matches!(reason.as_deref(), Some("POOL_FULL" | "ACCOUNT_FULL" | "BUSY" | "TOO_MANY_WAITS"))
        }
        ClientError::Url { .. }
        | ClientError::NoAnswer { .. }
        | ClientError::Impossible { .. }
        | ClientError::Unreadable { .. } => false,
    })
}

impl Told {
    fn is_success(&self) -> bool {
        match &self.end {
            End::Taken => true,
            End::Transaction(status) => status::is_success(status),
            End::Error(_) => false,
        }
    }

    fn text(&self) -> String {
        let what = match &self.end {
            End::Taken => "taken".to_owned(),
            End::Transaction(status) => status::line(status),
            End::Error(words) => format!("error: {words}"),
        };
        format!("{}  {}  {what}", self.line, self.id)
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let whole = |mut from: Box<dyn std::io::Read>| {
        let mut text = String::new();
        from.by_ref().take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map(|_| text)
    };
    let text = match file.as_os_str() == "-" {
        true => whole(Box::new(std::io::stdin())),
        false => std::fs::File::open(file).and_then(|file| whole(Box::new(file))),
    };
    let text = text.map_err(|error| usage(format!("{}: {error}", file.display())))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(usage(format!("{}: more than {FILE_BYTES_MAX} bytes; cut it", file.display())));
    }
    Ok(text)
}

/// The operations of each line that has any, with the line's number.
fn parse(text: &str, file: &Path) -> anyhow::Result<Vec<(usize, Vec<Operation>)>> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let operations = operations(line).map_err(usage);
            Ok((number, operations.with_context(|| format!("{}, line {number}", file.display()))?))
        })
        .collect()
}

fn operations(line: &str) -> Result<Vec<Operation>, String> {
    let words = shlex::split(line).ok_or("a quotation mark that is not closed")?;
    let line = Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    Ok(match line.what {
        What::Transfer(args) => args.operations(),
        What::Put(args) => args.operations(),
        What::Delete(args) => args.operations(),
    })
}

#[cfg(test)]
mod tests {
    use quorate_ledger::Condition;

    use super::*;

    fn parsed(text: &str) -> anyhow::Result<Vec<(usize, Vec<Operation>)>> {
        parse(text, Path::new("a file"))
    }

    #[test]
    fn a_line_is_what_a_command_would_be() {
        let text = "# greetings\nput greeting 'good day' --if-absent\n\n  delete 0x00ff\n";
        let (greeting, value) = (b"greeting".to_vec(), b"good day".to_vec());
        let put = vec![
            Operation::Check(Condition::KeyAbsent { key: greeting.clone() }),
            Operation::Put { key: greeting, value },
        ];
        let delete = vec![Operation::Delete { key: vec![0, 255] }];
        assert_eq!(parsed(text).expect("well formed"), [(2, put), (4, delete)]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_and_wrong_usage() {
        for wrong in ["put greeting", "send 5", "put 'greeting hello", "transfer qr1 5", "put a b --key c"] {
            let error = parsed(&format!("put a b\n{wrong}\n")).expect_err(wrong);
            assert!(exit::words(&error).starts_with("a file, line 2: "), "{wrong}: {error:#}");
            assert_eq!(exit::number(&error), 2, "{wrong}");
        }
    }
}
