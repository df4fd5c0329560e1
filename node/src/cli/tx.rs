//! `quorate tx`: builds, signs and submits transactions, and by default waits for what becomes of them.
//!
//! Sending is safe to repeat: the signed bytes name the transaction, which is included at most once, whichever nodes it
//! was given to and however often. So a wait that was cut off is resumed by sending the same bytes again.

mod batch;
mod send;
mod show;
pub(super) mod status;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use quorate_crypto::{Hash, SecretKey, decode, encode, from_hex, to_hex};
use quorate_genesis::Genesis;
use quorate_ledger::{Account, Amount, Condition, Operation, Payload, Transaction, Version};

use super::{Globals, approve, block_on, init, passphrase, values};
use crate::exit::usage;
use crate::rpc::types::{Bytes, Rules, TransactionStatus};

use send::{WaitingArgs, send};
pub(super) use show::operation_text;
use show::show;

#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// Move coins to an account
    Transfer {
        #[command(flatten)]
        transfer: TransferArgs,
        #[command(flatten)]
        signing: SigningArgs,
    },
    /// Set a key that is free or your own
    Put {
        #[command(flatten)]
        put: PutArgs,
        #[command(flatten)]
        signing: SigningArgs,
    },
    /// Delete a key of your own
    Delete {
        #[command(flatten)]
        delete: DeleteArgs,
        #[command(flatten)]
        signing: SigningArgs,
    },
    /// Make and submit a transaction for each line of a file
    ///
    /// A line is what stands behind `quorate tx`, such as `transfer ADDRESS 5` or `put greeting 'good day' --if-absent`; empty
    /// lines and those that begin with # are left out. All lines are read before anything is sent. What became of each is
    /// told in a line, in the order of the file. Success only if every transaction was executed successfully.
    Batch(batch::BatchArgs),
    /// Approve, as a validator, of what the next epoch changes
    #[command(subcommand)]
    Approve(approve::ApproveCommand),
    /// Submit signed bytes from a file made with --out
    Send {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        waiting: WaitingArgs,
    },
    /// Decode signed bytes without sending them
    Show {
        /// A file made with --out, or the bytes as 0x hex
        #[arg(value_name = "FILE|HEX")]
        transaction: String,
    },
}

/// A payment.
#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Who receives
    #[arg(value_name = "ADDRESS")]
    to: Account,
    /// How much, in decimal digits
    #[arg(allow_hyphen_values = true, value_parser = values::amount)]
    amount: Amount,
}

/// A key that is set.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// The key: text, or bytes as 0x hex
    #[arg(id = "name", value_name = "KEY", value_parser = values::bytes)]
    key: Bytes,
    /// The value: text, or bytes as 0x hex
    #[arg(value_parser = values::bytes)]
    value: Bytes,
    #[command(flatten)]
    guard: PutGuard,
}

/// A key that is deleted.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// The key: text, or bytes as 0x hex
    #[arg(id = "name", value_name = "KEY", value_parser = values::bytes)]
    key: Bytes,
    /// Only if the key still has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
}

/// What must hold for a put to take effect.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct PutGuard {
    /// Only if there is no such key
    #[arg(long)]
    if_absent: bool,
    /// Only if the key still has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
}

/// Who signs, and on what terms.
#[derive(Debug, Args)]
pub(super) struct TermsArgs {
    /// Key file of the sender
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Fee in decimal digits [default: the least the chain takes; nothing for an approval]
    #[arg(long, value_name = "AMOUNT", value_parser = values::amount)]
    fee: Option<Amount>,
    /// For how long it may be included, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    expires_in: Duration,
}

/// How a transaction is signed and what is done with it.
#[derive(Debug, Args)]
pub(super) struct SigningArgs {
    #[command(flatten)]
    terms: TermsArgs,
    /// Any number: it only makes otherwise equal transactions differ [default: random]
    #[arg(long)]
    nonce: Option<u64>,
    /// Take the chain from this genesis document instead of asking the node: signs without a connection
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Write the signed bytes to this file instead of sending them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_wait", "timeout"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    waiting: WaitingArgs,
}

pub(super) fn run(globals: &Globals, command: TxCommand) -> anyhow::Result<()> {
    match command {
        TxCommand::Transfer { transfer, signing } => make(globals, &signing, transfer.operations()),
        TxCommand::Put { put, signing } => make(globals, &signing, put.operations()),
        TxCommand::Delete { delete, signing } => make(globals, &signing, delete.operations()),
        TxCommand::Batch(args) => batch::run(globals, &args),
        TxCommand::Approve(command) => approve::run(globals, command),
        TxCommand::Send { file, waiting } => send(globals, &waiting, &read(&file)?, |_| None),
        TxCommand::Show { transaction } => {
            let transaction = if transaction.starts_with("0x") {
                parse(transaction.as_bytes())?
            } else {
                read(transaction.as_ref())?
            };
            show(globals, &transaction)
        }
    }
}

impl TransferArgs {
    fn operations(self) -> Vec<Operation> {
        vec![Operation::Transfer { to: self.to, amount: self.amount }]
    }
}

impl PutArgs {
    fn operations(self) -> Vec<Operation> {
        let Self { key: Bytes(key), value: Bytes(value), guard } = self;
        let condition = match (guard.if_absent, guard.if_version) {
            (true, _) => Some(Condition::KeyAbsent { key: key.clone() }),
            (false, Some(version)) => Some(Condition::KeyAtVersion { key: key.clone(), version }),
            (false, None) => None,
        };
        guarded(condition, Operation::Put { key, value })
    }
}

impl DeleteArgs {
    fn operations(self) -> Vec<Operation> {
        let Self { key: Bytes(key), if_version } = self;
        let condition = if_version.map(|version| Condition::KeyAtVersion { key: key.clone(), version });
        guarded(condition, Operation::Delete { key })
    }
}

fn guarded(condition: Option<Condition>, operation: Operation) -> Vec<Operation> {
    condition.map(Operation::Check).into_iter().chain([operation]).collect()
}

impl SigningArgs {
    /// Key file of the sender.
    pub(super) fn key(&self) -> &Path {
        &self.terms.key
    }

    /// Whether no node is to be asked.
    pub(super) fn is_offline(&self) -> bool {
        self.genesis.is_some()
    }
}

/// Signs `operations` and sends them, or writes them down.
fn make(globals: &Globals, signing: &SigningArgs, operations: Vec<Operation>) -> anyhow::Result<()> {
    make_and_tell(globals, signing, operations, |_| None)
}

/// The same, with a word to people about the outcome.
pub(super) fn make_and_tell(
    globals: &Globals,
    signing: &SigningArgs,
    operations: Vec<Operation>,
    tell: impl FnOnce(&TransactionStatus) -> Option<String>,
) -> anyhow::Result<()> {
    let chain = Chain::learn(globals, signing.genesis.as_deref())?;
    let signer = Signer::new(globals, chain, &signing.terms)?;
    let transaction = signer.sign(operations, signing.nonce)?;
    match &signing.out {
        None => send(globals, &signing.waiting, &transaction, tell),
        Some(file) => {
            write_bytes(file, &transaction)?;
            show(globals, &transaction)
        }
    }
}

/// A key, and the terms on which it signs.
struct Signer {
    chain: Chain,
    key: SecretKey,
    fee: Option<Amount>,
    expires_in_ms: u64,
}

impl Signer {
    fn new(globals: &Globals, chain: Chain, terms: &TermsArgs) -> anyhow::Result<Self> {
        let key = passphrase::read_key(globals, &terms.key)?;
        let millis = u64::try_from(terms.expires_in.as_millis()).context("--expires-in is out of range")?;
        if millis == 0 {
            return Err(usage("--expires-in: a transaction needs some time, such as 30s"));
        }
        if millis > chain.rules.transaction_lifetime_max_ms {
            let max = chain.rules.transaction_lifetime_max_ms;
            return Err(usage(format!("--expires-in: the chain takes transactions for at most {max}ms")));
        }
        Ok(Self { chain, key, fee: terms.fee, expires_in_ms: millis })
    }

    /// Signs; its time begins now. Without a nonce it gets one that no other has.
    fn sign(&self, operations: Vec<Operation>, nonce: Option<u64>) -> anyhow::Result<Transaction> {
        let mut payload = Payload {
            version: Payload::VERSION,
            chain: self.chain.id,
            sender: Account(self.key.public()),
            nonce: nonce.map_or_else(random, Ok)?,
            expires_at: values::now()?.plus_millis(self.expires_in_ms),
            fee: 0,
            operations,
        };
        payload.fee = match self.fee {
            Some(fee) => fee,
            // Who decides need not have coins: an approval that is alone may be free (`docs/pbft.md §7`).
            None if matches!(payload.operations[..], [Operation::Approve { .. }]) => 0,
            // The size does not depend on the fee, which is of fixed length.
            None => self.chain.least_fee(Transaction::sign(payload.clone(), &self.key).size()),
        };
        Ok(Transaction::sign(payload, &self.key))
    }
}

/// What must be known of a chain to sign for it.
struct Chain {
    id: Hash,
    rules: Rules,
}

impl Chain {
    fn learn(globals: &Globals, genesis: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = genesis else {
            let client = globals.client()?;
            let status = block_on(async { Ok(client.status().await?) })?;
            return Ok(Chain { id: status.genesis_hash, rules: status.rules });
        };
        let genesis = Genesis::load(file)?;
        Ok(Chain { id: genesis.hash(), rules: Rules::of(genesis.parameters()) })
    }

    fn least_fee(&self, size: usize) -> Amount {
        let size = Amount::try_from(size).expect("sizes fit 128 bits");
        self.rules.fee_per_byte.saturating_mul(size).saturating_add(self.rules.fee_base)
    }
}

/// A number that nobody else will choose for an otherwise equal transaction.
fn random() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))
}

/// The transaction in a file made with `--out`.
pub(super) fn read(file: &Path) -> anyhow::Result<Transaction> {
    parse(&values::read(file)?).with_context(|| file.display().to_string())
}

/// Signed bytes: raw, or as `0x` hex. A raw transaction starts with its version, which is no `0`.
pub(super) fn parse(content: &[u8]) -> anyhow::Result<Transaction> {
    let raw = match std::str::from_utf8(content).map(str::trim) {
        Ok(text) if text.starts_with("0x") => {
            from_hex(text).map_err(|error| usage(format!("not hex: {error}")))?
        }
        Ok(_) | Err(_) => content.to_vec(),
    };
    if raw.len() == Hash::ZERO.as_bytes().len() {
        let id = to_hex(&raw);
        return Err(usage(format!("{id} looks like the id of a transaction: try `quorate query tx {id}`")));
    }
    decode(&raw).map_err(|error| usage(format!("not one signed transaction: {error}")))
}

fn write_bytes(file: &Path, transaction: &Transaction) -> anyhow::Result<()> {
    if file.exists() {
        return Err(usage(format!("{} exists; name another file", file.display())));
    }
    init::write_new(file, encode(transaction))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use quorate_ledger::{Epoch, Parameters, TransactionRules, UnixMillis, ValidatorSet};

    pub(super) fn transaction() -> Transaction {
        let key = SecretKey::from_seed([1; 32]);
        let payload = Payload {
            version: Payload::VERSION,
            chain: Hash::ZERO,
            sender: Account(key.public()),
            nonce: 7,
            expires_at: UnixMillis(1_000),
            fee: 0,
            operations: vec![Operation::Transfer { to: Account(key.public()), amount: 5 }],
        };
        Transaction::sign(payload, &key)
    }

    #[test]
    fn signed_bytes_are_read_raw_and_as_hex() {
        let transaction = transaction();
        let raw = encode(&transaction);
        assert_eq!(parse(&raw).expect("raw").id(), transaction.id());
        let hex = format!("{}\n", to_hex(&raw));
        assert_eq!(parse(hex.as_bytes()).expect("hex").id(), transaction.id());
        assert!(parse(b"0x00").expect_err("too short").to_string().contains("not one signed transaction"));
        assert!(parse(&raw[1..]).is_err());
        assert!(parse(&[raw, vec![0]].concat()).is_err(), "nothing may follow");
    }

    #[test]
    fn the_least_fee_is_the_one_the_ledger_asks_for() {
        let parameters = Parameters { fee_base: 100, fee_per_byte: 3, ..Parameters::default() };
        let rules = Rules {
            fee_base: 100,
            fee_per_byte: 3,
            transaction_lifetime_max_ms: 0,
            transaction_bytes_max: 0,
            operations_max: 0,
            key_bytes_max: 0,
            value_bytes_max: 0,
        };
        let chain = Chain { id: Hash::ZERO, rules };
        let size = transaction().size();
        let validators = ValidatorSet::new(vec![SecretKey::from_seed([2; 32]).public()]).expect("one key");
        let (parameters, validators) = (Arc::new(parameters), Arc::new(validators));
        let ledger = TransactionRules { chain: Hash::ZERO, epoch: Epoch(0), parameters, validators };
        assert_eq!(chain.least_fee(size), ledger.least_fee(size));
    }

    #[test]
    fn a_guard_comes_before_what_it_guards() {
        let put = Operation::Put { key: b"a".to_vec(), value: b"1".to_vec() };
        let absent = Condition::KeyAbsent { key: b"a".to_vec() };
        assert_eq!(guarded(None, put.clone()), std::slice::from_ref(&put));
        assert_eq!(guarded(Some(absent.clone()), put.clone()), [Operation::Check(absent), put]);
    }
}
