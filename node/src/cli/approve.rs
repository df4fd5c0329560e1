//! `quorate tx approve`: a validator's vote for the next epoch's validators or parameters (`docs/pbft.md §7`).
//!
//! What is typed is relative to what is in force, what is signed is whole: approvals count together only if they come to
//! the same. So the command asks the node, shows what results, and then signs. While the end of an epoch is decided, an
//! approval is for the epoch that follows, and relative to that.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{
    Amount, Epoch, EpochChange, Failure, Height, LedgerEvent, Operation, Parameters, ProposedChange,
    ProposedValidator, READINESS_HEADERS, ValidatorSet,
};

use super::statement::{Named, Statement};
use super::tx::{self, SigningArgs};
use super::{Globals, block_on, genesis, output, passphrase};
use crate::client::Client;
use crate::exit::usage;
use crate::rpc::types::{Change, NodeStatus, TransactionStatus, ValidatorsAnswer};

#[derive(Debug, Subcommand)]
pub(super) enum ApproveCommand {
    /// Approve the validators of the next epoch
    Validators {
        #[command(flatten)]
        change: SetArgs,
        #[command(flatten)]
        signing: SigningArgs,
    },
    /// Approve the parameters of the next epoch: those in force with what is given here
    Parameters {
        /// A parameter and its new value (`quorate query parameters` lists them)
        #[arg(value_name = "NAME=VALUE", required = true, value_parser = genesis::parameter)]
        parameters: Vec<(String, Amount)>,
        #[command(flatten)]
        signing: SigningArgs,
    },
}

/// Who the validators shall be.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct SetArgs {
    /// Add a validator by its key, for which its running node answers; or by the statement that `quorate query ready` printed
    /// at its node; repeat for each
    #[arg(long, value_name = "KEY|STATEMENT")]
    add: Vec<Named>,
    /// Remove a validator by its key; repeat for each
    #[arg(long, value_name = "KEY")]
    remove: Vec<PublicKey>,
    /// All validators from then on: keys, or statements of new ones; repeat for each
    #[arg(long, value_name = "KEY|STATEMENT", conflicts_with_all = ["add", "remove", "same"])]
    set: Vec<Named>,
    /// The same validators: a new epoch, in which a validator whose vote log was lost votes again
    #[arg(long, conflicts_with_all = ["add", "remove"])]
    same: bool,
}

pub(super) fn run(globals: &Globals, mut command: ApproveCommand) -> anyhow::Result<()> {
    if command.signing().is_offline() {
        return Err(usage(
            "--genesis: what is in force now is not in the genesis document; an approval asks the node"
                .to_owned(),
        ));
    }
    let client = globals.client()?;
    let (status, answer) = block_on(async { Ok((client.status().await?, client.validators(None).await?)) })?;
    let answer = answer.ok_or_else(|| anyhow::anyhow!("the node knows no validators of its chain"))?;
    let base = Base::of(&status, &answer)?;
    if let ApproveCommand::Validators { change, .. } = &mut command {
        let named = change.add.iter_mut().chain(&mut change.set);
        block_on(base.ask_for_statements(&client, named))?;
    }
    let signing = command.signing();
    let proposed = match &command {
        ApproveCommand::Validators { change, .. } => base.validators_with(change)?,
        ApproveCommand::Parameters { parameters, .. } => base.parameters_with(parameters)?,
    };
    let change = proposed.resulting().map_err(|error| usage(error.to_string()))?;
    let key = passphrase::read_key(globals, signing.key())?.public();
    if base.validators.index_of(&key).is_none() {
        return Err(usage(format!(
            "--key: {key} is not among the {} validators of epoch {}, whose approvals count",
            base.validators.len(),
            base.epoch
        )));
    }
    output::note(&base.comes_to(&change));
    let operations = vec![Operation::Approve { change: proposed }];
    tx::make_and_tell(globals, signing, operations, |status| base.outcome_text(status))
}

impl ApproveCommand {
    fn signing(&self) -> &SigningArgs {
        match self {
            Self::Validators { signing, .. } | Self::Parameters { signing, .. } => signing,
        }
    }
}

/// What an approval given now is relative to.
struct Base {
    chain: Hash,
    /// The epoch in which it is given, for which statements must be made.
    given_in: Epoch,
    /// The epoch whose validators count it, and are asked for no statement.
    epoch: Epoch,
    /// The last height of the epoch in force, if its end is decided.
    ends: Option<Height>,
    validators: ValidatorSet,
    parameters: Parameters,
    names: BTreeMap<Vec<u8>, String>,
}

impl Base {
    fn of(status: &NodeStatus, answer: &ValidatorsAnswer) -> anyhow::Result<Self> {
        let mut parameters = answer.parameters.clone();
        let mut keys: Vec<PublicKey> = answer.validators.iter().map(|validator| validator.key).collect();
        let (given_in, mut epoch) = (answer.epoch, answer.epoch);
        if let Some(next) = &answer.next {
            epoch = epoch.next();
            match next {
                Change::Validators(next) => keys.clone_from(next),
                Change::Parameters(next) => parameters = (**next).clone(),
            }
        }
        let validators = ValidatorSet::new(keys)
            .map_err(|error| anyhow::anyhow!("the node tells of validators that are none: {error}"))?;
        let named = answer.validators.iter().filter_map(|validator| {
            Some((validator.key.as_bytes().to_vec(), validator.name.clone().filter(|name| !name.is_empty())?))
        });
        Ok(Self {
            chain: status.genesis_hash,
            given_in,
            epoch,
            ends: answer.ends,
            validators,
            parameters,
            names: named.collect(),
        })
    }

    /// Replaces keys of those who are no validators yet by their statements. They are asked for right before the approval is
    /// signed: a statement is taken for a thousand blocks, which a busy chain makes in seconds.
    async fn ask_for_statements(
        &self,
        client: &Client,
        named: impl Iterator<Item = &mut Named>,
    ) -> anyhow::Result<()> {
        for named in named {
            let Named::Key(key) = *named else { continue };
            if self.validators.index_of(&key).is_some() {
                continue;
            }
            let Some(answer) = client.readiness(key).await? else {
                return Err(anyhow::anyhow!(
                    "neither the node at {} nor a peer of it answers for {key}, which is no validator yet: see that its node \
                     runs with that key, has caught up, and is connected with this one (`quorate query status` there); or \
                     give --add what `quorate query ready` prints there, within {READINESS_HEADERS} blocks",
                    client.url()
                ));
            };
            *named = Named::Ready(Statement::answered(self.chain, &answer));
        }
        Ok(())
    }

    fn validators_with(&self, change: &SetArgs) -> anyhow::Result<ProposedChange> {
        for named in change.add.iter().chain(&change.set) {
            if self.validators.index_of(&named.key()).is_some() {
                continue;
            }
            let fault = match named {
                Named::Ready(statement) => statement.fault(self.chain, self.given_in),
                Named::Key(key) => {
                    Some(format!("{key} is no validator yet, and there is no statement of it"))
                }
            };
            if let Some(fault) = fault {
                return Err(usage(fault));
            }
        }
        let mut proposed: Vec<ProposedValidator> = if change.set.is_empty() {
            self.validators
                .keys()
                .iter()
                .map(|key| ProposedValidator { key: *key, readiness: None })
                .collect()
        } else {
            change.set.iter().map(Named::proposed).collect()
        };
        for key in &change.remove {
            let before = proposed.len();
            proposed.retain(|validator| validator.key != *key);
            if proposed.len() == before {
                return Err(usage(format!("--remove {key}: it is no validator of epoch {}", self.epoch)));
            }
        }
        for named in &change.add {
            if self.validators.index_of(&named.key()).is_some() {
                return Err(usage(format!(
                    "--add {}: it is a validator of epoch {} already",
                    named.key(),
                    self.epoch
                )));
            }
            proposed.push(named.proposed());
        }
        Ok(ProposedChange::Validators(proposed))
    }

    fn parameters_with(&self, given: &[(String, Amount)]) -> anyhow::Result<ProposedChange> {
        let parameters = genesis::parameters_over(&self.parameters, given)?;
        if parameters == self.parameters {
            return Err(usage(
                "these are the parameters in force; for a new epoch in which nothing changes: \
                 `quorate tx approve validators --same`"
                    .to_owned(),
            ));
        }
        if parameters.transaction_lifetime_max_ms != self.parameters.transaction_lifetime_max_ms {
            return Err(usage(
                "transaction_lifetime_max_ms is fixed by the genesis: lowering it would let a forgotten transaction in \
                 again"
                    .to_owned(),
            ));
        }
        Ok(ProposedChange::Parameters(Box::new(parameters)))
    }

    /// What the change makes of what is in force.
    fn comes_to(&self, change: &EpochChange) -> String {
        let mut text = match self.ends {
            Some(last) => format!(
                "Epoch {} ends with block {last}: this approval is for epoch {}, and counted among its validators.\n",
                self.given_in, self.epoch
            ),
            None => String::new(),
        };
        text.push_str(&match change {
            EpochChange::Validators(next) => self.set_text(next),
            EpochChange::Parameters(next) => self.parameters_text(next),
        });
        text
    }

    fn set_text(&self, next: &ValidatorSet) -> String {
        let mut table = output::table(&["", "validator", "name"]);
        for (key, mark) in marked(&self.validators, next) {
            let name = self.names.get(key.as_bytes().as_slice()).cloned().unwrap_or_default();
            table.add_row([mark.to_owned(), key.to_string(), name]);
        }
        let (before, after) = (self.validators.quorum(), next.quorum());
        let same = if *next == self.validators { ": the same" } else { "" };
        let sizes = if before.n() == after.n() {
            format!(
                "{} validators as before; {} votes decide, {} may be faulty.",
                after.n(),
                after.q(),
                after.f()
            )
        } else {
            format!(
                "{} validators instead of {}; {} votes decide instead of {}, {} may be faulty instead of {}.",
                after.n(),
                before.n(),
                after.q(),
                before.q(),
                after.f(),
                before.f()
            )
        };
        format!("Validators of epoch {}{same}:\n\n{}\n{sizes}", self.epoch.next(), output::lines(&table))
    }

    fn parameters_text(&self, next: &Parameters) -> String {
        let values = self.parameters.values().into_iter().zip(next.values());
        let changed = Parameters::table().iter().zip(values).filter(|(_, (before, after))| before != after);
        let lines: Vec<String> = changed
            .map(|(row, (before, after))| format!("  {} = {after} {} instead of {before}", row.key, row.unit))
            .collect();
        format!("Parameters of epoch {}:\n{}", self.epoch.next(), lines.join("\n"))
    }

    /// How far the change is, once the approval is executed.
    fn outcome_text(&self, status: &TransactionStatus) -> Option<String> {
        let TransactionStatus::Committed { receipt, .. } = status else { return None };
        let ends = receipt.events.iter().find_map(|event| match event {
            LedgerEvent::EpochEnds { last, .. } => Some(*last),
            LedgerEvent::Transferred { .. }
            | LedgerEvent::KeyPut { .. }
            | LedgerEvent::KeyDeleted { .. }
            | LedgerEvent::Approved { .. } => None,
        });
        let approvals = receipt.events.iter().find_map(|event| match event {
            LedgerEvent::Approved { approvals, .. } => Some(*approvals),
            LedgerEvent::Transferred { .. }
            | LedgerEvent::KeyPut { .. }
            | LedgerEvent::KeyDeleted { .. }
            | LedgerEvent::EpochEnds { .. } => None,
        })?;
        let needed = self.validators.quorum().q();
        Some(match ends {
            Some(last) => format!(
                "{approvals} of {needed} needed: decided. Epoch {} ends with block {last}; the change is in force from \
                 block {} on.\n",
                self.epoch,
                // As a node tells it, which may lie.
                last.0.saturating_add(1)
            ),
            None => format!(
                "{approvals} of {needed} needed. The others give the same command with their keys; `quorate query \
                 validators` shows who has.\n"
            ),
        })
    }
}

/// Every key of two sets, those that come and go marked.
fn marked(before: &ValidatorSet, after: &ValidatorSet) -> impl Iterator<Item = (PublicKey, &'static str)> {
    let stays = |key| if after.index_of(key).is_some() { "" } else { "-" };
    let of_before = before.keys().iter().map(move |key| (*key, stays(key)));
    let added = after.keys().iter().filter(|key| before.index_of(key).is_none());
    of_before.chain(added.map(|key| (*key, "+")))
}

/// What a validator whose approval failed can do.
pub(super) fn advice(reason: Failure) -> Option<&'static str> {
    match reason {
        Failure::NotValidator => Some("only validators of the epoch approve; one may have begun meanwhile"),
        Failure::NotReady => Some("a new validator is added by its key, for which its running node answers"),
        Failure::ReadinessStale => Some(
            "the statement is more than 1,000 blocks old; give --add the key alone, and its node is asked for a new one",
        ),
        Failure::ReadinessInvalid => Some(
            "the statement is of an epoch that is over; give --add the key alone, and its node is asked for a new one",
        ),
        Failure::InsufficientFunds
        | Failure::BalanceOverflow
        | Failure::NotOwner
        | Failure::KeyNotFound
        | Failure::KeyExists
        | Failure::WrongVersion
        | Failure::WrongValue => None,
    }
}
