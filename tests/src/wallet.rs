//! An account that signs transactions for one chain.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_crypto::{Hash, SecretKey, encode, read_key_file, to_hex};
use quorate_ledger::{Account, Amount, Operation, Payload, Transaction, UnixMillis};

/// How long transactions may be included unless a test says otherwise: as long as chains allow by default, less what
/// clocks may differ.
pub const LIFETIME: Duration = Duration::from_secs(50);

/// The next nonce, for all wallets of a process: two of one account never make the same transaction.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// An account with its key.
#[derive(Debug)]
pub struct Wallet {
    key: SecretKey,
    chain: Hash,
}

impl Wallet {
    /// The account of a key file.
    ///
    /// # Panics
    /// If that cannot be read.
    #[must_use]
    pub fn open(file: &Path, chain: Hash) -> Self {
        Self::of(read_key_file(file, None).expect("a key file of the testnet"), chain)
    }

    /// The account of a key.
    #[must_use]
    pub fn of(key: SecretKey, chain: Hash) -> Self {
        Self { key, chain }
    }

    /// Its address.
    #[must_use]
    pub fn account(&self) -> Account {
        Account(self.key.public())
    }

    /// The same operations never make the same transaction twice.
    #[must_use]
    pub fn payload(&self, operations: Vec<Operation>) -> Payload {
        Payload {
            version: Payload::VERSION,
            chain: self.chain,
            sender: self.account(),
            nonce: NONCE.fetch_add(1, Ordering::Relaxed),
            expires_at: from_now(LIFETIME),
            fee: 0,
            operations,
        }
    }

    /// A payload with its signature.
    #[must_use]
    pub fn sign(&self, payload: Payload) -> Transaction {
        Transaction::sign(payload, &self.key)
    }

    /// A transfer, signed.
    #[must_use]
    pub fn transfer(&self, to: Account, amount: Amount) -> Transaction {
        self.sign(self.payload(vec![Operation::Transfer { to, amount }]))
    }
}

/// Signed bytes as JSON-RPC takes them.
#[must_use]
pub fn bytes(transaction: &Transaction) -> String {
    to_hex(&encode(transaction))
}

/// A time of this machine's clock.
///
/// # Panics
/// If that clock is before 1970.
#[must_use]
pub fn from_now(after: Duration) -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    UnixMillis(u64::try_from((now + after).as_millis()).expect("the clock is in range"))
}
