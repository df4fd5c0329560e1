"""The state of docs/formats.md, "State" and "Execution": records, their trie, and what a block makes of them."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import bech32m
from formats import (
    PARAMETERS,
    ZERO,
    Genesis,
    Header,
    Operation,
    Transaction,
    ValidatorSet,
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
}


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


def account_record(balance: int) -> bytes:
    return u8(0) + u128(balance)


def validators_record(validators: ValidatorSet) -> bytes:
    return u8(3) + validators.encode()


def parameters_record(parameters: Dict[str, int]) -> bytes:
    return u8(4) + b"".join(encoding(parameters[name]) for name, encoding, _ in PARAMETERS)


def epoch_record(epoch: int, start: int) -> bytes:
    return u8(6) + u64(epoch) + u64(start)


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


Record = Union[int, Key]


class State:
    """The records after a height. Only accounts and keys ever change while there is one epoch."""

    def __init__(self, genesis: Genesis):
        self._records: Dict[bytes, Record] = {}
        self._trie: Node = None
        self._touched: Dict[bytes, None] = {}
        self._before: List[Tuple[bytes, Optional[Record]]] = []
        fixed = (
            (VALIDATORS_KEY, validators_record(genesis.validators)),
            (PARAMETERS_KEY, parameters_record(genesis.parameters)),
            (EPOCH_KEY, epoch_record(0, 0)),
        )
        for key, record in fixed:
            self._set_leaf(key, record)
        for account, balance in genesis.accounts.items():
            self._set(account_key(account), balance or None)
        self._commit()

    def root(self) -> bytes:
        return node_hash(self._trie)

    def execute(self, header: Header, transactions: Sequence[Transaction]) -> List[Receipt]:
        """Executes the transactions of a block and takes the state one height up."""
        receipts = [self._transaction(header, index, one) for index, one in enumerate(transactions)]
        self._commit()
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
                    events += self._operation(transaction.sender, version, operation)
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

    def _operation(self, sender: bytes, version: int, operation: Operation) -> List[Tuple[bytes, dict]]:
        """Does one operation, and says what it did: as bytes and as JSON."""
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

    def _balance(self, account: bytes) -> int:
        balance = self._records.get(account_key(account), 0)
        assert isinstance(balance, int), "the keys of records tell their kinds apart"
        return balance

    def _add(self, account: bytes, amount: int) -> None:
        if amount != 0:
            # An account without a balance has no record.
            self._set(account_key(account), self._balance(account) + amount or None)

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
            if record is None:
                self._set_leaf(key, None)
            else:
                self._set_leaf(key, record.encode() if isinstance(record, Key) else account_record(record))
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
