"""The state of docs/formats.md, "State", "Execution" and "Epochs": records, their trie, and what a block makes of them."""

from __future__ import annotations

from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import bech32m
import ed25519
from formats import (
    ZERO,
    Change,
    Genesis,
    Header,
    Operation,
    ProposedChange,
    Transaction,
    ValidatorSet,
    encode_parameters,
    readiness_message,
    sha256,
    show,
    string,
    tag,
    u8,
    u32,
    u64,
    u128,
    vector,
)

AMOUNT_MAX = (1 << 128) - 1

# The number of each reason in the format, by its name in JSON.
FAILURES = {
    "INSUFFICIENT_FUNDS": 0,
    "BALANCE_OVERFLOW": 1,
    "NOT_OWNER": 2,
    "KEY_NOT_FOUND": 3,
    "KEY_EXISTS": 4,
    "WRONG_VERSION": 5,
    "WRONG_VALUE": 6,
    "NOT_VALIDATOR": 7,
    "NOT_READY": 8,
    "READINESS_STALE": 9,
    "READINESS_INVALID": 10,
}

# A statement names a checkpoint that one of so many headers below anchors.
READINESS_HEADERS = 1_000


# Records ------------------------------------------------------------------------------------------------------------


class Key(NamedTuple):
    """A key that applications set."""

    owner: bytes
    version: int
    value: bytes

    def encode(self) -> bytes:
        return u8(1) + self.owner + u128(self.version) + string(self.value)


def account_key(account: bytes) -> bytes:
    return u8(0) + account


def key_key(key: bytes) -> bytes:
    return u8(1) + string(key)


VALIDATORS_KEY, PARAMETERS_KEY, EPOCH_KEY = u8(3), u8(4), u8(6)


def approval_key(validator: bytes) -> bytes:
    return u8(5) + validator


class Account(NamedTuple):
    """What an account holds, above 0."""

    balance: int

    def encode(self) -> bytes:
        return u8(0) + u128(self.balance)


class Validators(NamedTuple):
    """The set in force."""

    validators: ValidatorSet

    def encode(self) -> bytes:
        return u8(3) + self.validators.encode()


class Parameters(NamedTuple):
    """The parameters in force."""

    values: Dict[str, int]

    def encode(self) -> bytes:
        return u8(4) + encode_parameters(self.values)


class Approval(NamedTuple):
    """A validator's open approval."""

    change: Change
    given: int

    def encode(self) -> bytes:
        return u8(5) + self.change.encode() + u128(self.given)


class Epoch(NamedTuple):
    """The epoch in force, and its end, once that is decided."""

    number: int
    start: int
    ends: Optional[Tuple[int, Change]]

    def encode(self) -> bytes:
        end = u8(0) if self.ends is None else u8(1) + u64(self.ends[0]) + self.ends[1].encode()
        return u8(6) + u64(self.number) + u64(self.start) + end


# Trie ---------------------------------------------------------------------------------------------------------------


class Leaf(NamedTuple):
    """The only record of its subtree."""

    path: int
    hash: bytes


class Inner(NamedTuple):
    """A subtree with two records or more."""

    left: "Node"
    right: "Node"
    hash: bytes


Node = Optional[Union[Leaf, Inner]]


def node_hash(node: Node) -> bytes:
    return ZERO if node is None else node.hash


def leaf(path: bytes, record: bytes) -> Leaf:
    return Leaf(int.from_bytes(path, "big"), sha256(tag("state-leaf"), path, sha256(record)))


def _inner(left: Node, right: Node) -> Node:
    """A subtree stands for its records alone: one record is its leaf, at whatever depth."""
    if left is None and not isinstance(right, Inner):
        return right
    if right is None and not isinstance(left, Inner):
        return left
    return Inner(left, right, sha256(tag("state-node"), node_hash(left), node_hash(right)))


def changed(node: Node, path: int, new: Optional[Leaf], depth: int = 0) -> Node:
    """The subtree with the record at `path` set, or removed."""
    if node is None:
        return new
    if isinstance(node, Leaf):
        if node.path == path:
            return new
        if new is None:
            return node
        return _joined(node, new, depth)
    if path >> 255 - depth & 1:
        return _inner(node.left, changed(node.right, path, new, depth + 1))
    return _inner(changed(node.left, path, new, depth + 1), node.right)


def _joined(one: Leaf, other: Leaf, depth: int) -> Node:
    """The subtree of two records."""
    bits = one.path >> 255 - depth & 1, other.path >> 255 - depth & 1
    if bits == (0, 1):
        return _inner(one, other)
    if bits == (1, 0):
        return _inner(other, one)
    below = _joined(one, other, depth + 1)
    return _inner(None, below) if bits[0] else _inner(below, None)


# Execution ----------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """An operation cannot be done in the state it found."""


class Receipt(NamedTuple):
    """What became of a transaction: its encoding, and the same as JSON-RPC serves it."""

    encoding: bytes
    json: dict


Record = Union[Account, Key, Validators, Parameters, Approval, Epoch]


class State:
    """The records after a height."""

    def __init__(self, genesis: Genesis):
        self._records: Dict[bytes, Record] = {}
        self._trie: Node = None
        self._touched: Dict[bytes, None] = {}
        self._before: List[Tuple[bytes, Optional[Record]]] = []
        # The checkpoints that the last headers anchor.
        self._anchors: Deque[bytes] = deque()
        self._set(VALIDATORS_KEY, Validators(genesis.validators))
        self._set(PARAMETERS_KEY, Parameters(genesis.parameters))
        self._set(EPOCH_KEY, Epoch(0, 0, None))
        for account, balance in genesis.accounts.items():
            self._set(account_key(account), Account(balance) if balance else None)
        self._commit()

    def epoch(self) -> Epoch:
        """That of the next block."""
        return self._records[EPOCH_KEY]

    def validators(self) -> ValidatorSet:
        return self._records[VALIDATORS_KEY].validators

    def parameters(self) -> Dict[str, int]:
        return self._records[PARAMETERS_KEY].values

    def root(self) -> bytes:
        return node_hash(self._trie)

    def execute(self, header: Header, transactions: Sequence[Transaction]) -> List[Receipt]:
        """Executes the transactions of a block and takes the state one height up."""
        if header.height == self.epoch().start:
            # Those who approved while the epoch before was ending may be a quorum already.
            change = self._agreed()
            if change is not None:
                self._decide(header.height, change)
        receipts = [self._transaction(header, index, one) for index, one in enumerate(transactions)]
        ends = self.epoch().ends
        if ends is not None and ends[0] == header.height:
            self._next_epoch(ends[1], header.height)
        self._commit()
        self._anchors.append(header.anchor.checkpoint)
        if len(self._anchors) > READINESS_HEADERS:
            self._anchors.popleft()
        return receipts

    def _transaction(self, header: Header, index: int, transaction: Transaction) -> Receipt:
        paid = min(transaction.fee, self._balance(transaction.sender))
        self._add(transaction.sender, -paid)
        self._add(header.proposer, paid)
        outcome, said, events = u8(0), {"status": "ok"}, []
        if paid < transaction.fee:
            outcome, said = u8(1), {"status": "fee_unpaid"}
        else:
            self._before.clear()
            for step, operation in enumerate(transaction.operations):
                version = header.height << 64 | index << 32 | step
                try:
                    events += self._operation(header, transaction.sender, version, operation)
                except Failed as failure:
                    reason = str(failure)
                    outcome = u8(2) + u32(step) + u8(FAILURES[reason])
                    said = {"status": "failed", "operation": step, "reason": reason}
                    events = []
                    self._undo()
                    break
        name = transaction.id()
        place = u64(header.height) + u32(index)
        encoding = name + place + u128(paid) + outcome + vector([encoded for encoded, _ in events])
        shown = {
            "id": show(name),
            "height": header.height,
            "index": index,
            "fee_paid": str(paid),
            "outcome": said,
            "events": [event for _, event in events],
        }
        return Receipt(encoding, shown)

    def _operation(
        self, header: Header, sender: bytes, version: int, operation: Operation
    ) -> List[Tuple[bytes, dict]]:
        """Does one operation, and says what it did: as bytes and as JSON."""
        if operation.kind == "approve":
            return self._approve(header, sender, version, operation.change)
        kind, key = operation.kind, key_key(operation.key)
        if kind == "transfer":
            to, amount = operation.to, operation.amount
            if self._balance(sender) < amount:
                raise Failed("INSUFFICIENT_FUNDS")
            self._add(sender, -amount)
            if self._balance(to) + amount > AMOUNT_MAX:
                raise Failed("BALANCE_OVERFLOW")
            self._add(to, amount)
            ends = {"from": bech32m.encode(sender), "to": bech32m.encode(to)}
            event = {"type": "transferred", **ends, "amount": str(amount)}
            return [(u8(0) + sender + to + u128(amount), event)]
        found = self._records.get(key)
        assert found is None or isinstance(found, Key), "the keys of records tell their kinds apart"
        if kind == "put":
            if found is not None and found.owner != sender:
                raise Failed("NOT_OWNER")
            self._set(key, Key(sender, version, operation.value))
            event = {"type": "key_put", "key": show(operation.key), "version": str(version)}
            return [(u8(1) + string(operation.key) + u128(version), event)]
        if kind == "delete":
            if found is None:
                raise Failed("KEY_NOT_FOUND")
            if found.owner != sender:
                raise Failed("NOT_OWNER")
            self._set(key, None)
            return [(u8(2) + string(operation.key), {"type": "key_deleted", "key": show(operation.key)})]
        _check(operation, found)
        return []

    def _approve(
        self, header: Header, sender: bytes, version: int, proposed: ProposedChange
    ) -> List[Tuple[bytes, dict]]:
        validators, epoch = self.validators(), self.epoch()
        if sender not in validators.keys:
            raise Failed("NOT_VALIDATOR")
        if proposed.validators is not None:
            self._check_readiness(header, epoch, proposed)
        change = proposed.change()
        self._set(approval_key(sender), Approval(change, version))
        count, name = self._count(change), change.hash()
        event = {"type": "approved", "validator": bech32m.encode(sender), "change": show(name), "approvals": count}
        events = [(u8(3) + sender + name + u32(count), event)]
        if epoch.ends is None and count >= validators.quorum:
            last = self._decide(header.height, change)
            event = {"type": "epoch_ends", "last": last, "change": show(name)}
            events.append((u8(4) + u64(last) + name, event))
        return events

    def _check_readiness(self, header: Header, epoch: Epoch, proposed: ProposedChange) -> None:
        known = self.validators()
        if epoch.ends is not None and epoch.ends[1].validators is not None:
            known = epoch.ends[1].validators
        for one in proposed.validators:
            if one.key in known.keys:
                continue
            if one.readiness is None:
                raise Failed("NOT_READY")
            checkpoint, signature = one.readiness
            if checkpoint not in self._anchors:
                raise Failed("READINESS_STALE")
            if not ed25519.verify(one.key, readiness_message(header.chain, epoch.number, checkpoint), signature):
                raise Failed("READINESS_INVALID")

    def _approvals(self) -> List[bytes]:
        """What the validators in force approve of."""
        found = (self._records.get(approval_key(key)) for key in self.validators().keys)
        return [one.change.encode() for one in found if one is not None]

    def _count(self, change: Change) -> int:
        return self._approvals().count(change.encode())

    def _agreed(self) -> Optional[Change]:
        """The change that a quorum approves of."""
        for key in self.validators().keys:
            approval = self._records.get(approval_key(key))
            if approval is not None and self._count(approval.change) >= self.validators().quorum:
                return approval.change
        return None

    def _decide(self, height: int, change: Change) -> int:
        """Fixes the end of the epoch, and returns its last height."""
        last = height + self.parameters()["window"]
        self._set(EPOCH_KEY, self.epoch()._replace(ends=(last, change)))
        for key in self.validators().keys:
            self._set(approval_key(key), None)
        return last

    def _next_epoch(self, change: Change, last: int) -> None:
        before = self.validators().keys
        if change.validators is not None:
            self._set(VALIDATORS_KEY, Validators(change.validators))
        else:
            self._set(PARAMETERS_KEY, Parameters(change.parameters))
        self._set(EPOCH_KEY, Epoch(self.epoch().number + 1, last + 1, None))
        for key in before:
            if key not in self.validators().keys:
                self._set(approval_key(key), None)

    def _balance(self, account: bytes) -> int:
        found = self._records.get(account_key(account), Account(0))
        assert isinstance(found, Account), "the keys of records tell their kinds apart"
        return found.balance

    def _add(self, account: bytes, amount: int) -> None:
        if amount != 0:
            # An account without a balance has no record.
            balance = self._balance(account) + amount
            self._set(account_key(account), Account(balance) if balance else None)

    def _set(self, key: bytes, record: Optional[Record]) -> None:
        self._before.append((key, self._records.get(key)))
        self._touched[key] = None
        self._put(key, record)

    def _put(self, key: bytes, record: Optional[Record]) -> None:
        if record is None:
            self._records.pop(key, None)
        else:
            self._records[key] = record

    def _undo(self) -> None:
        for key, record in reversed(self._before):
            self._put(key, record)
        self._before.clear()

    def _commit(self) -> None:
        for key in self._touched:
            record = self._records.get(key)
            self._set_leaf(key, None if record is None else record.encode())
        self._touched.clear()
        self._before.clear()

    def _set_leaf(self, key: bytes, record: Optional[bytes]) -> None:
        path = sha256(key)
        new = None if record is None else leaf(path, record)
        self._trie = changed(self._trie, int.from_bytes(path, "big"), new)


def _check(operation: Operation, found: Optional[Key]) -> None:
    if operation.kind == "key_absent":
        if found is not None:
            raise Failed("KEY_EXISTS")
    elif found is None:
        raise Failed("KEY_NOT_FOUND")
    elif operation.kind == "key_at_version" and found.version != operation.version:
        raise Failed("WRONG_VERSION")
    elif operation.kind == "key_equals" and found.value != operation.value:
        raise Failed("WRONG_VALUE")
