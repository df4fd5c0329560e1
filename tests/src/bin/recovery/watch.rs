//! The blocks of a node, each with the moment at which it was seen.

use std::time::Instant;

use quorate_tests::client::{BlockSeen, Client, Decision};
use quorate_tests::wait::{SOON, until};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Blocks that were seen and not looked at yet.
const WAITING_MAX: usize = 100_000;

/// A block, and when.
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) block: BlockSeen,
}

/// The blocks of a node from the next one on, while blocks are made.
pub(crate) struct Watch {
    client: Client,
    blocks: mpsc::Receiver<Seen>,
    // It ends with this value.
    _task: JoinSet<()>,
}

impl Watch {
    pub(crate) async fn of(client: &Client) -> Self {
        let mut blocks = client.follow(client.height().await + 1).await;
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let block = blocks.next().await;
                if sender.send(Seen { at: Instant::now(), block }).await.is_err() {
                    return;
                }
            }
        });
        Self { client: client.clone(), blocks: receiver, _task: task }
    }

    pub(crate) async fn next(&mut self) -> Seen {
        self.blocks.recv().await.expect("blocks come for as long as somebody watches")
    }

    /// What committed a block that was seen.
    pub(crate) async fn decision(&self, height: u64) -> Decision {
        until("what commits a block", SOON, async || {
            self.client.decision(height).await.ok_or_else(|| "nothing".to_owned())
        })
        .await
    }

    /// The next block that was decided in this view or a later one.
    pub(crate) async fn decided_from(&mut self, view: u64) -> Seen {
        loop {
            let seen = self.next().await;
            if self.decision(seen.block.height).await.view >= view {
                return seen;
            }
        }
    }
}
