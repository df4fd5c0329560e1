"""For the tests: keys that sign, and a chain in memory that answers as a node does."""

from __future__ import annotations

import copy
import hashlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import bech32m
import ed25519
from formats import (
    Anchor,
    Checkpoint,
    Commit,
    Genesis,
    Header,
    Transaction,
    ValidatorSet,
    merkle_root,
    message,
    multi_signature,
    show,
    transaction,
)
from state import State


class SecretKey:
    """RFC 8032 §5.1.5 and §5.1.6, for tests only: it takes no care of the secret."""

    def __init__(self, seed: bytes):
        digest = hashlib.sha512(seed).digest()
        self._scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        self._prefix = digest[32:]
        self.public = compress(ed25519.multiply_and_add(self._scalar, ed25519.BASE, 0, ed25519.IDENTITY))

    def sign(self, signed: bytes) -> bytes:
        r = int.from_bytes(hashlib.sha512(self._prefix + signed).digest(), "little") % ed25519.ORDER
        r_bytes = compress(ed25519.multiply_and_add(r, ed25519.BASE, 0, ed25519.IDENTITY))
        k = int.from_bytes(hashlib.sha512(r_bytes + self.public + signed).digest(), "little")
        return r_bytes + ((r + k * self._scalar) % ed25519.ORDER).to_bytes(32, "little")


def compress(point: ed25519.Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, ed25519.P - 2, ed25519.P)
    sign = (x * inverse % ed25519.P) & 1
    return (y * inverse % ed25519.P | sign << 255).to_bytes(32, "little")


def header_json(block: Header) -> dict:
    return {
        "version": block.version,
        "chain": show(block.chain),
        "epoch": block.epoch,
        "height": block.height,
        "parent": show(block.parent),
        "transactions_root": show(block.transactions_root),
        "time": block.time,
        "proposer": bech32m.encode(block.proposer),
        "anchor": {
            "height": block.anchor.height,
            "state_root": show(block.anchor.state_root),
            "checkpoint": show(block.anchor.checkpoint),
        },
    }


class FakeNode:
    """Makes a chain by the rules and serves it. Tests change `answers` to what a liar would say."""

    def __init__(self, genesis: Genesis, keys: Sequence[SecretKey]):
        self.genesis = genesis
        self._keys = {key.public: key for key in keys}
        self._state = State(genesis)
        root = self._state.root()
        first = Checkpoint(0, 0, genesis.chain, root, merkle_root([]), genesis.validators.hash())
        self.results = [first]
        self.headers: List[Header] = []
        # Who signs for each height.
        self._sets: Dict[int, ValidatorSet] = {}
        self.answers: Dict[Tuple[str, Any, Any], Any] = {}

    def __call__(self, method: str, parameters: Dict[str, Any]) -> Any:
        if method == "node_status":
            return {"genesis_hash": show(self.genesis.chain), "height": len(self.headers)}
        return copy.deepcopy(self.answers.get((method, parameters["height"], parameters.get("kind"))))

    def signed(self, key: SecretKey, operations: List[dict], fee: int = 0, **changes: Any) -> Tuple[dict, Transaction]:
        """A transaction for the next block, as JSON and as what it is."""
        payload = {
            "version": 1,
            "chain": show(self.genesis.chain),
            "sender": bech32m.encode(key.public),
            "nonce": str(len(self.headers)),
            "expires_at": self.next_time() + 1,
            "fee": str(fee),
            "operations": operations,
        }
        payload.update(changes)
        signature = key.sign(transaction(payload, show(bytes(64))).message())
        whole = transaction(payload, show(signature))
        return {"payload": payload, "signature": show(signature)}, whole

    def next_time(self) -> int:
        return (self.headers[-1].time if self.headers else self.genesis.time) + 10

    def add_block(
        self,
        signed: Sequence[Tuple[dict, Transaction]] = (),
        certified: bool = True,
        signers: Optional[ValidatorSet] = None,
        **changes: Any,
    ) -> None:
        """Executes and certifies the next block, or others than its validators do; with `certified=False` its descendant."""
        height = len(self.headers) + 1
        epoch, validators = self._state.epoch(), self._state.validators()
        # The first block of an epoch is anchored in the last of the one before.
        anchor = self.results[max(0, height - 3, epoch.start - 1)].anchor()
        block = Header(
            1,
            self.genesis.chain,
            epoch.number,
            height,
            self.results[-1].block,
            merkle_root([whole.hash() for _, whole in signed]),
            self.next_time(),
            validators.keys[0],
            Anchor(*anchor),
        )._replace(**changes)
        receipts = self._state.execute(block, [whole for _, whole in signed])
        result = Checkpoint(
            epoch.number,
            height,
            block.hash(),
            self._state.root(),
            merkle_root([receipt.encoding for receipt in receipts]),
            self._state.validators().hash(),
        )
        self._sets[height] = signers or validators
        self.headers.append(block)
        self.results.append(result)
        self.answers["chain_getBlock", height, None] = {
            "hash": show(block.hash()),
            "header": header_json(block),
            "certified": certified,
            "transactions": [
                {**shown, "id": show(whole.id()), "hash": show(whole.hash()), "receipt": receipt.json}
                for (shown, whole), receipt in zip(signed, receipts)
            ],
        }
        if certified:
            self._certify(height)

    def _certify(self, height: int) -> None:
        payload = Commit(self.headers[height - 1].epoch, 0, height, self.results[height].block)
        below = height
        while below > 0 and ("chain_getCertificate", below, "commit") not in self.answers:
            headers = [header_json(block) for block in self.headers[below:height]]
            answer = {**self.certificate(payload), "headers": headers}
            self.answers["chain_getCertificate", below, "commit"] = answer
            below -= 1
        answer = {**self.certificate(self.results[height]), "headers": []}
        self.answers["chain_getCertificate", height, "checkpoint"] = answer

    def certificate(self, payload: Any) -> dict:
        """What the first quorum of validators signs."""
        validators = self._sets[payload.height]
        signed = message(payload.KIND, self.genesis.chain, payload.encode())
        signers = range(validators.quorum)
        votes = [(index, self._keys[validators.keys[index]].sign(signed)) for index in signers]
        body = payload._asdict()
        return {
            "kind": payload.KIND,
            "certificate": {name: show(one) if isinstance(one, bytes) else one for name, one in body.items()},
            "votes": [{"validator": index, "signature": show(signature)} for index, signature in votes],
            "bytes": show(payload.encode() + multi_signature(validators.n, votes)),
        }
