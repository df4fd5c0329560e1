#!/usr/bin/env python3
"""Verifies a Quorate chain from its genesis document alone, by asking one node for it and believing nothing it says.

    verify_chain.py --rpc http://127.0.0.1:7601 --genesis genesis.json [--to HEIGHT]

It shares no code with the node: it was written from docs/formats.md, in the Python standard library. From the genesis
document it computes the chain id and the first state; then, block by block, it checks

- the header: format, chain, epoch, height, link to the parent, rising time, a proposer of the set, its own hash;
- the state anchor: what this verifier itself computed for that height, never going back, and in the first header of an
  epoch that of the last block before it;
- the transactions: ids, hashes, root, signatures (ZIP-215), limits, fees, times, no id twice, by the epoch's rules;
- the result: every transaction is executed again, receipts and state root are computed;
- the commit certificate: a quorum's signatures over the block, or over a descendant that the headers lead to;
- the checkpoint certificate, where the node has one: a quorum's signatures over the same result.

The validators of each epoch, whose signatures count in it, are those that executing the epoch before it gives, and that
its last CHECKPOINT names.

The first thing that is wrong ends it: exit code 1. A node that cannot be asked, or files that cannot be read: 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, List, Optional, Set

import ed25519
from formats import (
    Checkpoint,
    Commit,
    Genesis,
    Header,
    Transaction,
    ValidatorSet,
    Wrong,
    check_certificate,
    header,
    hexadecimal,
    merkle_root,
    number,
    show,
    transaction,
)
from state import State

# Asks a node: the method and its parameters by name.
Ask = Callable[[str, Dict[str, Any]], Any]

# A block is shown once it is executed, its descendant's certificate possibly a moment later.
CERTIFICATE_TRIES = 10
CERTIFICATE_PAUSE_SECONDS = 0.5


class Unreachable(Exception):
    """The node does not answer as JSON-RPC has it."""


class Node:
    """JSON-RPC 2.0 over HTTP."""

    def __init__(self, url: str, timeout_seconds: float = 30.0):
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._calls = 0

    def __call__(self, method: str, parameters: Dict[str, Any]) -> Any:
        self._calls += 1
        call = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": parameters}
        request = urllib.request.Request(
            self._url, json.dumps(call).encode("utf-8"), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as response:
                answer = json.load(response)
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self._url}: {error}") from None
        if not isinstance(answer, dict) or "result" not in answer:
            raise Unreachable(f"{self._url}: {method} answered {answer!r}")
        return answer["result"]


class Chain:
    """A chain as far as it is verified."""

    def __init__(self, genesis: Genesis, ask: Ask, pause: Callable[[float], None] = time.sleep):
        self.genesis = genesis
        # Waits so many seconds; tests do not.
        self._pause = pause
        self._ask = ask
        self._state = State(genesis)
        self.height = 0
        self.hash = genesis.chain
        self._time = genesis.time
        validators = genesis.validators.hash()
        first = Checkpoint(0, 0, genesis.chain, self._state.root(), merkle_root([]), validators)
        # What executing each height gave; the anchors of later headers are held against it.
        self._results = [first]
        self._anchor = first.anchor()
        # What a certified descendant's chain of headers says the next blocks are.
        self._promised: Dict[int, bytes] = {}
        self._certificate_height = 0
        self._ids: Set[bytes] = set()
        self.transactions = 0
        self.failed = 0
        self.certificates = 0
        self.checkpoints = 0
        self.checkpoint_height = 0

    def extend(self) -> None:
        """Verifies the next block."""
        height = self.height + 1
        try:
            self._extend(height)
        except Wrong as wrong:
            raise Wrong(f"height {height}: {wrong}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise Wrong(f"height {height}: an answer has not the shape it should have: {error!r}") from None

    def _extend(self, height: int) -> None:
        answer = self._ask("chain_getBlock", {"height": height})
        if answer is None:
            raise Wrong("the node has no such block")
        block = header(answer["header"])
        name = block.hash()
        if hexadecimal(answer["hash"], 32) != name:
            raise Wrong(f"the block is called {answer['hash']}, its header has the hash {show(name)}")
        # Before it is executed: its last block is still of the old epoch.
        validators = self._state.validators()
        self._check_header(block, height)
        transactions = [self._transaction(block, one) for one in answer["transactions"]]
        self._check_block_limits(block, transactions)
        receipts = self._state.execute(block, transactions)
        for receipt, one in zip(receipts, answer["transactions"]):
            if receipt.json != one["receipt"]:
                raise Wrong(f"the receipt should be {receipt.json}, the node has {one['receipt']}")
            self.failed += receipt.json["outcome"]["status"] != "ok"
        result = Checkpoint(
            block.epoch,
            height,
            name,
            self._state.root(),
            merkle_root([receipt.encoding for receipt in receipts]),
            self._state.validators().hash(),
        )
        self._check_committed(block, name, answer["certified"], validators)
        self._check_checkpoint(result, validators)
        self._results.append(result)
        self.height, self.hash = height, name
        self._time, self._anchor = block.time, block.anchor
        self.transactions += len(transactions)

    def _check_header(self, block: Header, height: int) -> None:
        if block.version != 1:
            raise Wrong(f"its format is {block.version}, this verifier knows 1")
        if block.chain != self.genesis.chain:
            raise Wrong(f"it is of chain {show(block.chain)}, the genesis document's is {show(self.genesis.chain)}")
        epoch = self._state.epoch()
        if block.epoch != epoch.number:
            raise Wrong(f"it is of epoch {block.epoch}, this height is of epoch {epoch.number}")
        if block.height != height:
            raise Wrong(f"its header says height {block.height}")
        if block.parent != self.hash:
            raise Wrong(f"its parent is {show(block.parent)}, the block below is {show(self.hash)}")
        if block.time <= self._time:
            raise Wrong(f"its time {block.time} is not above that of the block below, {self._time}")
        if block.proposer not in self._state.validators().keys:
            raise Wrong("its proposer is no validator")
        if not self._anchor.height <= block.anchor.height < height:
            raise Wrong(f"it anchors height {block.anchor.height}, the block below {self._anchor.height}")
        if height == epoch.start and block.anchor.height != height - 1:
            raise Wrong(f"it begins an epoch and anchors height {block.anchor.height}")
        if block.anchor != self._results[block.anchor.height].anchor():
            raise Wrong(f"its anchor is not what executing height {block.anchor.height} gives")

    def _transaction(self, block: Header, value: Any) -> Transaction:
        one = transaction(value["payload"], value["signature"])
        name = one.id()
        if hexadecimal(value["id"], 32) != name:
            raise Wrong(f"transaction {value['id']} has the id {show(name)}")
        if hexadecimal(value["hash"], 32) != one.hash():
            raise Wrong(f"transaction {value['id']} has the hash {show(one.hash())}, not {value['hash']}")
        if name in self._ids:
            raise Wrong(f"transaction {show(name)} is included a second time")
        self._ids.add(name)
        problem = self._problem(block, one)
        if problem is not None:
            raise Wrong(f"transaction {show(name)} {problem}")
        return one

    def _problem(self, block: Header, one: Transaction) -> Optional[str]:
        """What makes a transaction unfit for any block, or for this one."""
        limits = self._state.parameters()
        size = len(one.encode())
        if one.version != 1 or one.chain != self.genesis.chain:
            return "is of another format or chain"
        if size > limits["transaction_bytes_max"]:
            return f"has {size} bytes"
        if not 1 <= len(one.operations) <= limits["operations_max"]:
            return f"has {len(one.operations)} operations"
        for operation in one.operations:
            if operation.kind == "approve":
                problem = operation.change.problem()
                lifetime = (operation.change.parameters or limits)["transaction_lifetime_max_ms"]
                if problem is None and lifetime != limits["transaction_lifetime_max_ms"]:
                    problem = f"a lifetime of {lifetime}"
                if problem is not None:
                    return f"approves of {problem}"
            elif operation.kind != "transfer" and not 1 <= len(operation.key) <= limits["key_bytes_max"]:
                return f"names a key of {len(operation.key)} bytes"
            if len(operation.value) > limits["value_bytes_max"]:
                return f"carries a value of {len(operation.value)} bytes"
        if one.fee < self._least_fee(one) and not self._is_free_approval(one):
            return f"offers a fee of {one.fee}"
        if not block.time < one.expires_at <= block.time + limits["transaction_lifetime_max_ms"]:
            return f"expires at {one.expires_at}, in a block of {block.time}"
        if not ed25519.is_usable_key(one.sender):
            return "has a sender that nobody can be"
        if not ed25519.verify(one.sender, one.message(), one.signature):
            return "is not signed by its sender"
        return None

    def _least_fee(self, one: Transaction) -> int:
        limits = self._state.parameters()
        return limits["fee_base"] + limits["fee_per_byte"] * len(one.encode())

    def _is_free_approval(self, one: Transaction) -> bool:
        """Whether it pays nothing, where others must, because a validator approves of a change and does nothing else."""
        kinds = [operation.kind for operation in one.operations]
        validators = self._state.validators()
        return one.fee == 0 < self._least_fee(one) and kinds == ["approve"] and one.sender in validators.keys

    def _carries_statements(self, one: Transaction) -> bool:
        """Whether it approves of validators with statements that new ones are ready."""
        proposed = [operation.change.validators or () for operation in one.operations if operation.kind == "approve"]
        return any(validator.readiness is not None for validators in proposed for validator in validators)

    def _check_block_limits(self, block: Header, transactions: List[Transaction]) -> None:
        limits = self._state.parameters()
        free = [one.sender for one in transactions if self._is_free_approval(one)]
        if len(set(free)) != len(free):
            raise Wrong("it holds two approvals of one validator that pay nothing")
        ready = [one.sender for one in transactions if self._carries_statements(one)]
        if len(set(ready)) != len(ready):
            raise Wrong("it holds two transactions of one sender with statements of new validators")
        size = sum(len(one.encode()) for one in transactions)
        if len(transactions) > limits["block_transactions_max"] or size > limits["block_bytes_max"]:
            raise Wrong(f"it holds {len(transactions)} transactions of {size} bytes")
        root = merkle_root([one.hash() for one in transactions])
        if root != block.transactions_root:
            raise Wrong(f"its transactions have the root {show(root)}, not {show(block.transactions_root)}")

    def _check_committed(self, block: Header, name: bytes, certified: Any, validators: ValidatorSet) -> None:
        """That a certificate of its own, or a descendant's, covers the block."""
        promised = self._promised.pop(block.height, None)
        if promised is not None and promised != name:
            raise Wrong(f"a certified descendant stands on {show(promised)}, not on this block")
        if promised is not None and (certified is not True or block.height == self._certificate_height):
            return
        answer = self._commit_certificate(block.height)
        body = answer["certificate"]
        commit = Commit(
            number(body["epoch"]), number(body["view"]), number(body["height"]), hexadecimal(body["block"], 32)
        )
        if certified is True and commit.height != block.height:
            raise Wrong(f"it is said to have a certificate of its own, and has that of height {commit.height}")
        last = (block.height, name)
        for child in map(header, answer["headers"]):
            if (child.height, child.parent, child.epoch) != (last[0] + 1, last[1], block.epoch):
                raise Wrong(f"the headers up to its certificate do not link at height {child.height}")
            last = (child.height, child.hash())
            self._promised[child.height] = last[1]
        if (commit.epoch, commit.height, commit.block) != (block.epoch, *last):
            raise Wrong(f"its certificate names block {show(commit.block)} at height {commit.height}")
        self._check_signatures("commit", answer, commit, validators)
        self._certificate_height = commit.height
        self.certificates += 1

    def _commit_certificate(self, height: int) -> Any:
        for _ in range(CERTIFICATE_TRIES):
            answer = self._ask("chain_getCertificate", {"height": height, "kind": "commit"})
            if answer is not None:
                return answer
            self._pause(CERTIFICATE_PAUSE_SECONDS)
        raise Wrong("no commit certificate covers it")

    def _check_checkpoint(self, result: Checkpoint, validators: ValidatorSet) -> None:
        answer = self._ask("chain_getCertificate", {"height": result.height, "kind": "checkpoint"})
        if answer is None:
            return
        body = answer["certificate"]
        certified = Checkpoint(
            number(body["epoch"]),
            number(body["height"]),
            *(hexadecimal(body[name], 32) for name in ("block", "state_root", "receipts_root", "next_validators")),
        )
        for name, own, other in zip(Checkpoint._fields, result, certified):
            if own != other:
                words = [show(one) if isinstance(one, bytes) else str(one) for one in (own, other)]
                raise Wrong(f"its {name} is {words[0]}, its checkpoint certificate says {words[1]}")
        self._check_signatures("checkpoint", answer, result, validators)
        self.checkpoints += 1
        self.checkpoint_height = result.height

    def _check_signatures(self, kind: str, answer: Any, payload: Any, validators: ValidatorSet) -> None:
        try:
            check_certificate(answer, payload, self.genesis.chain, validators)
        except Wrong as wrong:
            raise Wrong(f"the {kind} certificate of height {payload.height}: {wrong}") from None

    def state_root(self) -> bytes:
        return self._results[-1].state_root

    def summary(self) -> str:
        validators, epoch = self._state.validators(), self._state.epoch()
        rows = (
            ("chain", show(self.genesis.chain)),
            ("epoch", f"{epoch.number}, from height {epoch.start}"),
            ("validators", f"{validators.n}, of which {validators.quorum} decide"),
            ("verified", f"blocks 1 to {self.height}, every header, link, hash and root"),
            ("last block", show(self.hash)),
            ("state root", show(self.state_root())),
            ("transactions", f"{self.transactions}, each signed and executed again, {self.failed} without success"),
            ("commit certificates", f"{self.certificates}, covering every block"),
            ("checkpoint certificates", f"{self.checkpoints}, the last of height {self.checkpoint_height}"),
            ("anchored in headers", f"up to height {self._anchor.height}"),
        )
        return "\n".join(f"{name:24}{value}" for name, value in rows)


def verify(
    genesis: Genesis, ask: Ask, to: Optional[int] = None, pause: Callable[[float], None] = time.sleep
) -> Chain:
    """Verifies the chain up to a height, or to the newest block the node has when it is first asked."""
    status = ask("node_status", {})
    if not isinstance(status, dict):
        raise Wrong(f"node_status answered {status!r}")
    if hexadecimal(status.get("genesis_hash"), 32) != genesis.chain:
        raise Wrong(f"the node is of chain {status['genesis_hash']}, the document is that of {show(genesis.chain)}")
    chain = Chain(genesis, ask, pause)
    target = number(status.get("height")) if to is None else to
    while chain.height < target:
        chain.extend()
        if sys.stderr.isatty():
            print(f"\rverified {chain.height} of {target}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return chain


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Formats: docs/formats.md")
    parser.add_argument("--rpc", required=True, metavar="URL", help="JSON-RPC of a node")
    parser.add_argument("--genesis", required=True, metavar="FILE", help="the chain's genesis document")
    parser.add_argument("--to", type=int, metavar="HEIGHT", help="the last height (default: the node's newest)")
    options = parser.parse_args(arguments)
    try:
        with open(options.genesis, encoding="utf-8") as file:
            text = file.read()
        print(verify(Genesis(text), Node(options.rpc), options.to).summary())
    except (OSError, Unreachable, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Wrong, json.JSONDecodeError) as wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
        return 1
    print("everything holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
