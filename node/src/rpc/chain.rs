//! `chain_…`: blocks, headers and the certificates that prove them. Height 0 is the genesis, which is no block.

use quorate_crypto::{MultiSignature, encode};
use quorate_ledger::{CERTIFIED_BLOCKS_LIMIT, Header, Height, StoredBlock, ValidatorIndex};

use super::Context;
use super::error::RpcError;
use super::types::{
    BlockAnswer, BlockParameters, BlockSummary, BlocksAnswer, BlocksParameters, Bytes, CertificateAnswer,
    CertificateBody, CertificateKind, CertificateParameters, HeaderAnswer, HeightOrLatest,
    TransactionInBlock, Vote,
};

/// Headers that `chain_getBlocks` answers if it is not told how many.
pub(crate) const BLOCKS_DEFAULT: u64 = 20;

/// Headers that it answers at most; a larger `limit` is cut to this.
pub(crate) const BLOCKS_MAX: u64 = 200;

/// `chain_getBlock`.
pub(crate) fn block(context: &Context, parameters: BlockParameters) -> Result<Option<BlockAnswer>, RpcError> {
    let Some(height) = height_of(context, parameters)? else { return Ok(None) };
    Ok(context.node.reader.block(height).map_err(RpcError::internal)?.map(block_answer))
}

fn block_answer(stored: StoredBlock) -> BlockAnswer {
    let StoredBlock { block, certificate, receipts, outcome: _ } = stored;
    assert_eq!(
        block.transactions().len(),
        receipts.len(),
        "a block is stored with one receipt a transaction"
    );
    let transactions = block.transactions().iter().zip(receipts);
    BlockAnswer {
        hash: block.hash(),
        header: block.header().clone(),
        size: block.size() as u64,
        certified: certificate.is_some(),
        transactions: transactions
            .map(|(transaction, receipt)| TransactionInBlock {
                id: transaction.id(),
                hash: transaction.hash(),
                payload: transaction.payload().clone(),
                signature: *transaction.signature(),
                receipt,
            })
            .collect(),
    }
}

/// `chain_getHeader`.
pub(crate) fn header(
    context: &Context,
    parameters: BlockParameters,
) -> Result<Option<HeaderAnswer>, RpcError> {
    let Some(height) = height_of(context, parameters)? else { return Ok(None) };
    let stored = context.node.reader.header(height).map_err(RpcError::internal)?;
    Ok(stored.map(|stored| HeaderAnswer { hash: stored.header.hash(), header: stored.header }))
}

/// `chain_getBlocks`.
pub(crate) fn blocks(context: &Context, parameters: BlocksParameters) -> Result<BlocksAnswer, RpcError> {
    let tip = context.node.reader.tip().0;
    let mut blocks = Vec::new();
    for height in range(parameters, tip)?.map(Height) {
        let stored = context.node.reader.header(height).map_err(RpcError::internal)?;
        let stored = stored.ok_or_else(|| RpcError::internal(format_args!("header {height} is missing")))?;
        blocks.push(BlockSummary {
            hash: stored.header.hash(),
            header: stored.header,
            transactions: stored.transactions.into(),
        });
    }
    Ok(BlocksAnswer { as_of: tip, blocks })
}

/// The heights that are asked for and exist.
fn range(parameters: BlocksParameters, tip: Height) -> Result<std::ops::RangeInclusive<u64>, RpcError> {
    let limit = match parameters.limit.unwrap_or(BLOCKS_DEFAULT) {
        0 => return Err(RpcError::parameters("`limit` is 0, at least 1 is needed")),
        limit => limit.min(BLOCKS_MAX),
    };
    let first = match parameters.from {
        Some(from) => from.0.max(1),
        None => tip.0.saturating_sub(limit - 1).max(1),
    };
    Ok(first..=tip.0.min(first.saturating_add(limit - 1)))
}

/// `chain_getCertificate`.
pub(crate) fn certificate(
    context: &Context,
    parameters: CertificateParameters,
) -> Result<Option<CertificateAnswer>, RpcError> {
    let CertificateParameters { height, kind, hash } = parameters;
    let Some(height) = height_of(context, BlockParameters { height, hash })? else { return Ok(None) };
    if height == Height(0) || height > context.node.reader.tip().0 {
        return Ok(None);
    }
    match kind {
        CertificateKind::Commit => commit_certificate(context, height),
        CertificateKind::Checkpoint => checkpoint_certificate(context, height),
    }
}

fn commit_certificate(context: &Context, height: Height) -> Result<Option<CertificateAnswer>, RpcError> {
    let reader = &context.node.reader;
    let found = reader.commit_certificate_at_or_above(height).map_err(RpcError::internal)?;
    let Some((certified, certificate)) = found else { return Ok(None) };
    // Blocks come from the engine or from a peer in runs that end with a certificate, so the next is never further.
    assert!(
        certified.0 - height.0 < CERTIFIED_BLOCKS_LIMIT as u64,
        "no certificate for {height} up to {certified}"
    );
    let headers: Result<Vec<Header>, RpcError> = (height.0 + 1..=certified.0)
        .map(|above| {
            let stored = reader.header(Height(above)).map_err(RpcError::internal)?;
            Ok(stored.ok_or_else(|| RpcError::internal(format_args!("header {above} is missing")))?.header)
        })
        .collect();
    let payload = certificate.payload;
    Ok(Some(CertificateAnswer {
        kind: CertificateKind::Commit,
        certificate: CertificateBody::Commit {
            epoch: payload.epoch,
            view: payload.view,
            height: payload.height,
            block: payload.block,
        },
        votes: votes(&certificate.signatures),
        bytes: Bytes(encode(&certificate)),
        headers: headers?,
    }))
}

fn checkpoint_certificate(context: &Context, height: Height) -> Result<Option<CertificateAnswer>, RpcError> {
    let found = context.node.reader.checkpoint(height).map_err(RpcError::internal)?;
    Ok(found.map(|certificate| {
        let payload = certificate.payload;
        CertificateAnswer {
            kind: CertificateKind::Checkpoint,
            certificate: CertificateBody::Checkpoint {
                epoch: payload.epoch,
                height: payload.height,
                block: payload.block,
                state_root: payload.state_root,
                receipts_root: payload.receipts_root,
                next_validators: payload.next_validators,
            },
            votes: votes(&certificate.signatures),
            bytes: Bytes(encode(&certificate)),
            headers: Vec::new(),
        }
    }))
}

fn votes(signatures: &MultiSignature) -> Vec<Vote> {
    let signers = signatures.signers().iter();
    signers
        .zip(signatures.signatures())
        .map(|(index, signature)| Vote {
            validator: ValidatorIndex(u16::try_from(index).expect("a set is smaller")),
            signature: *signature,
        })
        .collect()
}

/// The height that is meant; `None` if no block here has the hash.
fn height_of(context: &Context, parameters: BlockParameters) -> Result<Option<Height>, RpcError> {
    match (parameters.height, parameters.hash) {
        (Some(HeightOrLatest::Height(height)), None) => Ok(Some(height)),
        (Some(HeightOrLatest::Latest(_)), None) => Ok(Some(context.node.reader.tip().0)),
        (None, Some(hash)) => context.node.reader.height_of(&hash).map_err(RpcError::internal),
        (Some(_), Some(_)) | (None, None) => {
            Err(RpcError::parameters("give either `height` (a number or \"latest\") or `hash`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heights(from: Option<u64>, limit: Option<u64>, tip: u64) -> (u64, u64) {
        let range = range(BlocksParameters { from: from.map(Height), limit }, Height(tip)).expect("allowed");
        (*range.start(), range.count() as u64)
    }

    #[test]
    fn a_range_has_at_most_its_limit_and_that_at_most_ours() {
        assert_eq!(heights(Some(5), Some(BLOCKS_MAX), 10_000), (5, BLOCKS_MAX));
        assert_eq!(heights(Some(5), Some(BLOCKS_MAX + 1), 10_000), (5, BLOCKS_MAX));
        assert_eq!(heights(Some(5), Some(u64::MAX), 10_000), (5, BLOCKS_MAX));
        assert_eq!(heights(Some(5), None, 10_000), (5, BLOCKS_DEFAULT));
    }

    #[test]
    fn without_a_beginning_a_range_ends_with_the_newest() {
        assert_eq!(heights(None, Some(3), 10), (8, 3));
        assert_eq!(heights(None, Some(30), 10), (1, 10));
        assert_eq!(heights(None, Some(3), 0), (1, 0));
    }

    #[test]
    fn a_range_holds_only_what_exists() {
        assert_eq!(heights(Some(0), Some(2), 10), (1, 2));
        assert_eq!(heights(Some(9), Some(5), 10), (9, 2));
        assert_eq!(heights(Some(11), Some(5), 10), (11, 0));
        assert_eq!(heights(Some(u64::MAX), Some(5), 10), (u64::MAX, 0));
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        assert!(range(BlocksParameters { from: None, limit: Some(0) }, Height(10)).is_err());
    }
}
