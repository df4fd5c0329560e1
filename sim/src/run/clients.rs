//! What clients do to the nodes: submit, and try again elsewhere.

use super::{Happening, Simulation};
use crate::check::Violation;
use crate::coverage::Counter;
use crate::liar::Deceptive;
use crate::process::Submitted;
use crate::trace::Place;

impl<E: Deceptive> Simulation<'_, E> {
    pub(super) fn make_later(&mut self) {
        let now = self.queue.now();
        let (height, calm) = (self.checks.chain.height(), self.calm.is_some());
        let awaited = calm && (self.are_deciding() || self.silent().is_some());
        let next = self.clients.next_in_ms(now, height, calm, awaited);
        if let Some(ms) = next {
            self.queue.at(now.plus_millis(ms), Happening::Make);
        }
    }

    pub(super) fn make(&mut self) -> Result<(), Violation> {
        let (number, nodes) = self.clients.make(&self.chain, self.queue.now());
        for node in nodes {
            self.submit(number, node)?;
        }
        let retry = self.queue.now().plus_millis(self.clients.retry_ms());
        self.queue.at(retry, Happening::Retry(number));
        self.read()?;
        self.make_later();
        Ok(())
    }

    pub(super) fn retry(&mut self, number: u32) -> Result<(), Violation> {
        let Some(transaction) = self.clients.open(number) else { return Ok(()) };
        let now = self.queue.now();
        if transaction.expires_at() > self.chain.wall(now) {
            let node = self.clients.next_node(number, &self.chain);
            self.coverage.count(Counter::TRANSACTIONS_SUBMITTED_AGAIN);
            self.submit(number, node)?;
            self.queue.at(now.plus_millis(self.clients.retry_ms()), Happening::Retry(number));
        } else {
            self.coverage.count(Counter::TRANSACTIONS_LEFT_TO_EXPIRE);
        }
        Ok(())
    }

    fn submit(&mut self, number: u32, index: usize) -> Result<(), Violation> {
        let Some(transaction) = self.clients.open(number) else { return Ok(()) };
        let now = self.queue.now();
        if self.nodes[index].paused(now).is_some() {
            return Ok(());
        }
        let submitted = self.step(index, |node, out| node.submit(now, &transaction, out))?;
        self.note(Place::World, format_args!("t{number} to n{index}: {submitted:?}"));
        // A liar may say what it likes: whoever asks it checks the proof.
        if !self.checks.is_correct(index) {
            return Ok(());
        }
        match submitted {
            Some(Submitted::Committed(height)) => drop(self.clients.acknowledge(transaction.id(), height)),
            // From now on it waits at a node that loses it no more.
            Some(Submitted::Waits) if self.calm.is_some() => self.clients.accepted(number, now),
            Some(Submitted::Waits | Submitted::Refused(_)) | None => {}
        }
        Ok(())
    }
}
