//! How fast the engine alone is: replicas that hand each other their messages, without network, disk or ledger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate_consensus::pbft::{Message, Pbft};
use quorate_consensus::{
    Action, Backlog, Engine, Event, Input, Mono, Now, Rejection, Replica, Scope, Setup, To, Verdict, Voter,
    drive,
};
use quorate_crypto::{Hash, model::Modelled};
use quorate_ledger::{
    Account, Block, CheckpointPayload, Epoch, ExecutionOutcome, Header, Height, Ledger, MemoryStore,
    Operation, Payload, Transaction, ValidatorIndex,
};

use crate::log::NoLog;
use crate::machine::Chain;
use crate::scenario::Scenario;

/// Time that passes from block to block.
const PACE_MS: u64 = 10;

struct Cluster {
    chain: Arc<Chain>,
    scope: Scope,
    replicas: Vec<Replica<Pbft>>,
    queue: VecDeque<(usize, Event<Message>)>,
    blocks: BTreeMap<Hash, Arc<Block>>,
    now: Mono,
    steps: u64,
    height: u64,
}

/// Lets `nodes` replicas commit `blocks` blocks of one transaction each, and says how many steps their engines took, each
/// for one event. Messages are verified, by model signatures, as the type of the event demands; nothing is encoded.
///
/// # Panics
/// When they do not come to agree.
#[must_use]
pub fn engine_steps(nodes: usize, blocks: u64) -> u64 {
    let _modelled = Modelled::begin();
    let chain = Scenario::new("", nodes, 1).chain();
    let tip = Ledger::open(MemoryStore::new(), &chain.genesis).expect("memory").tip();
    let replicas = (0..nodes).map(|place| {
        let index = ValidatorIndex(u16::try_from(place).expect("a handful"));
        let voter = Some(Voter { index, key: chain.keys[place].clone() });
        let (scope, parameters) = (chain.first_scope(), chain.parameters().clone());
        let setup = Setup { scope, voter, parameters, nonce: place as u64 };
        Replica::open(setup, None, &tip, Vec::new()).expect("a new log")
    });
    let mut cluster = Cluster {
        replicas: replicas.collect(),
        scope: chain.first_scope(),
        chain: Arc::clone(&chain),
        queue: VecDeque::new(),
        blocks: BTreeMap::new(),
        now: Mono(1),
        steps: 0,
        height: 0,
    };
    while cluster.height < blocks {
        cluster.round();
    }
    cluster.steps
}

impl Cluster {
    /// One more transaction waits, and all that follows from it happens.
    fn round(&mut self) {
        self.now = self.now.plus_millis(PACE_MS);
        let waits = Backlog { bytes: 200, count: 1, oldest: Some(Mono(0)), eligible: None };
        for place in 0..self.replicas.len() {
            self.queue.push_back((place, Event::Tick));
            self.queue.push_back((place, Event::Backlog(waits)));
        }
        while let Some((place, event)) = self.queue.pop_front() {
            self.step(place, event);
        }
    }

    fn step(&mut self, place: usize, event: Event<Message>) {
        self.steps += 1;
        let now = Now { mono: self.now, wall: self.chain.wall(self.now) };
        let actions = drive(&mut self.replicas[place], &mut NoLog, now, [Input::from(event)]);
        for (_, action) in actions.expect("there is no disk to fail") {
            self.take(place, action);
        }
    }

    fn take(&mut self, place: usize, action: Action<Message>) {
        match action {
            Action::Send { to: To::All, message } => {
                for other in (0..self.replicas.len()).filter(|other| *other != place) {
                    self.send(place, other, message.clone());
                }
            }
            Action::Send { to: To::One(index), message } => self.send(place, index.as_usize(), message),
            Action::Build { height, parent, anchor, time } => {
                let transaction = self.transaction(height);
                let header = Header {
                    version: Header::VERSION,
                    chain: self.chain.genesis.chain,
                    epoch: Epoch(0),
                    height,
                    parent,
                    transactions_root: Block::transactions_root(&[transaction.hash()]),
                    time,
                    proposer: Account(self.chain.keys[place].public()),
                    anchor,
                };
                let block = Arc::new(Block::new(header, vec![Arc::new(transaction)]));
                self.blocks.insert(block.hash(), Arc::clone(&block));
                self.queue.push_back((place, Event::Built { block }));
            }
            Action::Check { proposal, .. } => {
                let block = proposal.header.hash();
                let verdict = Verdict::Accept(Arc::clone(&self.blocks[&block]));
                self.queue.push_back((place, Event::Checked { block, verdict }));
            }
            Action::Commit { block, .. } => {
                self.height = self.height.max(block.height().0);
                let outcome = self.outcome(&block);
                self.queue.push_back((place, Event::Executed { outcome }));
            }
            Action::Stable { .. } | Action::Serve { .. } | Action::Fetch { .. } | Action::Leave { .. } => {}
            Action::Accuse { .. } | Action::Reject { .. } | Action::Abstain { .. } | Action::Halt { .. } => {
                panic!("among correct replicas: {action:?}")
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let horizon = self.replicas[to].current().horizon();
        let message = match Pbft::verify(&self.scope, horizon, message) {
            Ok(message) => message,
            Err(Rejection::OldView(_)) => return,
            Err(why) => panic!("among correct replicas: {why}"),
        };
        let from = ValidatorIndex(u16::try_from(from).expect("a handful"));
        self.queue.push_back((to, Event::Message { from, message }));
    }

    fn transaction(&self, height: Height) -> Transaction {
        let payload = Payload {
            version: Payload::VERSION,
            chain: self.chain.genesis.chain,
            sender: Account(self.chain.keys[0].public()),
            nonce: height.0,
            expires_at: self.chain.wall(self.now).plus_millis(1_000),
            fee: 0,
            operations: vec![Operation::Put { key: b"key".to_vec(), value: Vec::new() }],
        };
        Transaction::sign(payload, &self.chain.keys[0])
    }

    /// Any results will do, as long as all come to the same.
    fn outcome(&self, block: &Block) -> ExecutionOutcome {
        let checkpoint = CheckpointPayload {
            epoch: Epoch(0),
            height: block.height(),
            block: block.hash(),
            state_root: Hash::of(block.hash().as_bytes()),
            receipts_root: Hash::ZERO,
            next_validators: self.scope.validators.hash(),
        };
        ExecutionOutcome { checkpoint, due: None, epoch_ends: None }
    }
}

#[cfg(test)]
mod tests {
    use super::engine_steps;

    #[test]
    fn every_block_takes_some_steps_of_every_replica() {
        let steps = engine_steps(4, 20);
        assert!(steps > 4 * 20, "{steps}");
    }
}
