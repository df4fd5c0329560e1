"""The byte formats of docs/formats.md, from the shapes that JSON-RPC serves them in.

Everything here takes JSON values as they came and gives bytes, or raises `Wrong`: what comes from a node is not
trusted to have the types it should have.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import bech32m
import ed25519


class Wrong(Exception):
    """The first thing that is not as docs/formats.md says."""


# Hashes and domains -------------------------------------------------------------------------------------------------

ZERO = bytes(32)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tag(name: str) -> bytes:
    """What keeps one kind of hashed or signed bytes from being taken for another."""
    return f"quorate/1/{name}".encode("ascii") + b"\0"


def message(name: str, chain: bytes, payload: bytes) -> bytes:
    """What a signature covers."""
    return tag(name) + chain + payload


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1, by its recursive definition."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\0", leaves[0])
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", merkle_root(leaves[:left]), merkle_root(leaves[left:]))


# JSON values --------------------------------------------------------------------------------------------------------


def hexadecimal(value: Any, length: Optional[int] = None) -> bytes:
    """Bytes from `0x` and lower-case digits."""
    if not isinstance(value, str) or not value.startswith("0x") or value != value.lower():
        raise Wrong(f"{value!r} is not 0x and lower-case hex digits")
    try:
        found = bytes.fromhex(value[2:])
    except ValueError:
        raise Wrong(f"{value!r} is not hex") from None
    if value[2:] != found.hex() or (length is not None and len(found) != length):
        raise Wrong(f"{value!r} is not {length if length is not None else 'some'} bytes of hex")
    return found


def show(value: bytes) -> str:
    return "0x" + value.hex()


def address(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Wrong(f"{value!r} is not an address")
    try:
        return bech32m.decode(value)
    except ValueError as error:
        raise Wrong(str(error)) from None


def number(value: Any, bits: int = 64) -> int:
    """A JSON number, as heights, views and times are."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
        raise Wrong(f"{value!r} is not a number of {bits} bits")
    return value


def decimal(value: Any, bits: int = 128) -> int:
    """A string of decimal digits without leading zeros, as amounts, nonces and versions are."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or str(int(value)) != value:
        raise Wrong(f"{value!r} is not a decimal string")
    return number(int(value), bits)


def fields(value: Any, *names: str) -> List[Any]:
    """The members of an object that has these and no others."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise Wrong(f"{value!r} does not have exactly the members {', '.join(names)}")
    return [value[name] for name in names]


# Borsh --------------------------------------------------------------------------------------------------------------


def u8(value: int) -> bytes:
    return value.to_bytes(1, "little")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def u128(value: int) -> bytes:
    return value.to_bytes(16, "little")


def vector(items: Sequence[bytes]) -> bytes:
    return u32(len(items)) + b"".join(items)


def string(value: bytes) -> bytes:
    return u32(len(value)) + value


# Sets, parameters and what changes them ------------------------------------------------------------------------------

VALIDATORS_MAX = 200


class ValidatorSet:
    """The validators of an epoch, ordered by key bytes."""

    def __init__(self, keys: Sequence[bytes]):
        self.keys = sorted(keys)
        self.n = len(self.keys)
        self.f = (self.n - 1) // 3
        self.quorum = (self.n + self.f) // 2 + 1

    def encode(self) -> bytes:
        return vector(self.keys)

    def hash(self) -> bytes:
        return sha256(tag("validator-set"), self.encode())


# Name, encoding, default, least, greatest; in the order of the encoding (docs/formats.md, Parameters).
MINUTE, HOUR, WEEK = 60_000, 3_600_000, 604_800_000
PARAMETERS: Tuple[Tuple[str, Callable[[int], bytes], int, int, int], ...] = (
    ("block_bytes_max", u32, 1_048_576, 1_024, 16_777_216),
    ("block_transactions_max", u32, 5_000, 1, 65_536),
    ("batch_delay_ms", u32, 5, 0, 10_000),
    ("transaction_bytes_max", u32, 65_536, 1_024, 1_048_576),
    ("operations_max", u32, 64, 1, 1_024),
    ("key_bytes_max", u32, 256, 1, 4_096),
    ("value_bytes_max", u32, 16_384, 1, 1_048_576),
    ("transaction_lifetime_max_ms", u64, MINUTE, 1_000, HOUR),
    ("fee_base", u128, 0, 0, 10**30),
    ("fee_per_byte", u128, 0, 0, 10**30),
    ("window", u32, 8, 1, 128),
    ("log_window", u32, 128, 2, 4_096),
    ("max_clock_drift_ms", u64, 5_000, 1, 600_000),
    ("heartbeat_ms", u64, MINUTE, 0, WEEK),
    ("rotation_blocks", u64, 1_000, 0, 1_000_000_000),
    ("rotation_time_ms", u64, 30_000, 0, WEEK),
    ("base_timeout_ms", u64, 500, 10, MINUTE),
    ("timeout_cap_ms", u64, 10_000, 10, HOUR),
    ("inclusion_timeout_ms", u64, 2_000, 10, HOUR),
    ("resend_ms", u64, 500, 10, MINUTE),
    ("snapshot_interval_ms", u64, 600_000, 1_000, WEEK),
)

# The first must not be above the second.
ORDERED = (
    ("transaction_bytes_max", "block_bytes_max"),
    ("key_bytes_max", "transaction_bytes_max"),
    ("value_bytes_max", "transaction_bytes_max"),
    ("base_timeout_ms", "timeout_cap_ms"),
    ("inclusion_timeout_ms", "transaction_lifetime_max_ms"),
)

BITS = {u32: 32, u64: 64, u128: 128}


def read_parameters(given: Any) -> Dict[str, int]:
    """The values of all parameters from some; the others have their defaults."""
    values = {}
    for name, encoding, default, _, _ in PARAMETERS:
        if name not in given:
            values[name] = default
        elif encoding is u128:
            values[name] = decimal(given[name])
        else:
            values[name] = number(given[name], BITS[encoding])
    if set(given) - set(values):
        raise Wrong(f"unknown parameters {sorted(set(given) - set(values))}")
    return values


def encode_parameters(values: Dict[str, int]) -> bytes:
    return b"".join(encoding(values[name]) for name, encoding, _, _, _ in PARAMETERS)


def parameters_problem(values: Dict[str, int]) -> Optional[str]:
    """Why no epoch can have these."""
    for name, _, _, least, greatest in PARAMETERS:
        if not least <= values[name] <= greatest:
            return f"{name} = {values[name]}"
    for name, bound in ORDERED:
        if values[name] > values[bound]:
            return f"{name} above {bound}"
    if values["log_window"] < 2 * values["window"]:
        return "log_window below twice the window"
    return None


class Proposed(NamedTuple):
    """A validator of a proposed set, with its statement that it is ready: hash of a checkpoint, signature."""

    key: bytes
    readiness: Optional[Tuple[bytes, bytes]]

    def encode(self) -> bytes:
        return self.key + (u8(0) if self.readiness is None else u8(1) + b"".join(self.readiness))


class Change(NamedTuple):
    """What an epoch's end changes: the set, or the parameters."""

    validators: Optional[ValidatorSet]
    parameters: Optional[Dict[str, int]]

    def encode(self) -> bytes:
        if self.validators is not None:
            return u8(0) + self.validators.encode()
        return u8(1) + encode_parameters(self.parameters)

    def hash(self) -> bytes:
        if self.validators is not None:
            return self.validators.hash()
        return sha256(tag("parameters"), encode_parameters(self.parameters))


class ProposedChange(NamedTuple):
    """A change as a validator approves of it."""

    validators: Optional[Tuple[Proposed, ...]]
    parameters: Optional[Dict[str, int]]

    def encode(self) -> bytes:
        if self.validators is not None:
            return u8(0) + vector([one.encode() for one in self.validators])
        return u8(1) + encode_parameters(self.parameters)

    def change(self) -> Change:
        if self.validators is not None:
            return Change(ValidatorSet([one.key for one in self.validators]), None)
        return Change(None, self.parameters)

    def problem(self) -> Optional[str]:
        """Why no epoch can have it."""
        if self.parameters is not None:
            return parameters_problem(self.parameters)
        keys = [one.key for one in self.validators]
        if not 1 <= len(keys) <= VALIDATORS_MAX or len(set(keys)) != len(keys):
            return f"{len(keys)} validators, {len(set(keys))} different"
        if not all(map(ed25519.is_usable_key, keys)):
            return "a validator that nobody can be"
        return None


def proposed_change(value: Any) -> ProposedChange:
    if isinstance(value, dict) and set(value) == {"validators"} and isinstance(value["validators"], list):
        return ProposedChange(tuple(_proposed(one) for one in value["validators"]), None)
    if isinstance(value, dict) and set(value) == {"parameters"} and isinstance(value["parameters"], dict):
        return ProposedChange(None, read_parameters(value["parameters"]))
    raise Wrong(f"{value!r} is no change that this verifier knows")


def _proposed(value: Any) -> Proposed:
    key, readiness = fields(value, "key", "readiness")
    if readiness is None:
        return Proposed(hexadecimal(key, 32), None)
    checkpoint, signature = fields(readiness, "checkpoint", "signature")
    return Proposed(hexadecimal(key, 32), (hexadecimal(checkpoint, 32), hexadecimal(signature, 64)))


def readiness_message(chain: bytes, epoch: int, checkpoint: bytes) -> bytes:
    """What a new validator signs to say that it is ready."""
    return message("readiness", chain, u64(epoch) + checkpoint)


# Transactions -------------------------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """One step of a transaction."""

    kind: str
    to: bytes = b""
    amount: int = 0
    key: bytes = b""
    value: bytes = b""
    version: int = 0
    change: Optional[ProposedChange] = None

    def encode(self) -> bytes:
        if self.kind == "transfer":
            return u8(0) + self.to + u128(self.amount)
        if self.kind == "put":
            return u8(1) + string(self.key) + string(self.value)
        if self.kind == "delete":
            return u8(2) + string(self.key)
        if self.kind == "key_absent":
            return u8(3) + u8(0) + string(self.key)
        if self.kind == "key_present":
            return u8(3) + u8(1) + string(self.key)
        if self.kind == "key_at_version":
            return u8(3) + u8(2) + string(self.key) + u128(self.version)
        if self.kind == "approve":
            return u8(9) + self.change.encode()
        assert self.kind == "key_equals", "operation() makes no other kind"
        return u8(3) + u8(3) + string(self.key) + string(self.value)


def operation(value: Any) -> Operation:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "transfer":
        _, to, amount = fields(value, "type", "to", "amount")
        return Operation(kind, to=address(to), amount=decimal(amount))
    if kind == "put":
        _, key, content = fields(value, "type", "key", "value")
        return Operation(kind, key=hexadecimal(key), value=hexadecimal(content))
    if kind == "delete":
        _, key = fields(value, "type", "key")
        return Operation(kind, key=hexadecimal(key))
    if kind == "approve":
        _, change = fields(value, "type", "change")
        return Operation(kind, change=proposed_change(change))
    condition = value.get("condition") if kind == "check" else None
    if condition in ("key_absent", "key_present"):
        _, _, key = fields(value, "type", "condition", "key")
        return Operation(condition, key=hexadecimal(key))
    if condition == "key_at_version":
        _, _, key, version = fields(value, "type", "condition", "key", "version")
        return Operation(condition, key=hexadecimal(key), version=decimal(version))
    if condition == "key_equals":
        _, _, key, content = fields(value, "type", "condition", "key", "value")
        return Operation(condition, key=hexadecimal(key), value=hexadecimal(content))
    raise Wrong(f"{value!r} is no operation that this verifier knows")


class Transaction(NamedTuple):
    """A payload and a signature, with the names computed from both."""

    version: int
    chain: bytes
    sender: bytes
    nonce: int
    expires_at: int
    fee: int
    operations: Tuple[Operation, ...]
    signature: bytes

    def payload(self) -> bytes:
        return b"".join(
            (
                u8(self.version),
                self.chain,
                self.sender,
                u64(self.nonce),
                u64(self.expires_at),
                u128(self.fee),
                vector([one.encode() for one in self.operations]),
            )
        )

    def message(self) -> bytes:
        return message("transaction", self.chain, self.payload())

    def encode(self) -> bytes:
        return self.payload() + self.signature

    def id(self) -> bytes:
        return sha256(self.message())

    def hash(self) -> bytes:
        return sha256(tag("transaction-hash"), self.id(), self.signature)


PAYLOAD = ("version", "chain", "sender", "nonce", "expires_at", "fee", "operations")


def transaction(payload: Any, signature: Any) -> Transaction:
    version, chain, sender, nonce, expires_at, fee, operations = fields(payload, *PAYLOAD)
    if not isinstance(operations, list):
        raise Wrong(f"{operations!r} is not a list of operations")
    return Transaction(
        number(version, 8),
        hexadecimal(chain, 32),
        address(sender),
        decimal(nonce, 64),
        number(expires_at),
        decimal(fee),
        tuple(operation(one) for one in operations),
        hexadecimal(signature, 64),
    )


# Blocks and certificates --------------------------------------------------------------------------------------------


class Anchor(NamedTuple):
    """An executed state that a header builds on."""

    height: int
    state_root: bytes
    checkpoint: bytes


class Header(NamedTuple):
    """What validators vote on."""

    version: int
    chain: bytes
    epoch: int
    height: int
    parent: bytes
    transactions_root: bytes
    time: int
    proposer: bytes
    anchor: Anchor

    def encode(self) -> bytes:
        return b"".join(
            (
                u8(self.version),
                self.chain,
                u64(self.epoch),
                u64(self.height),
                self.parent,
                self.transactions_root,
                u64(self.time),
                self.proposer,
                u64(self.anchor.height),
                self.anchor.state_root,
                self.anchor.checkpoint,
            )
        )

    def hash(self) -> bytes:
        return sha256(tag("header"), self.encode())


HEADER = ("version", "chain", "epoch", "height", "parent", "transactions_root", "time", "proposer", "anchor")


def header(value: Any) -> Header:
    version, chain, epoch, height, parent, root, time, proposer, anchor = fields(value, *HEADER)
    anchor_height, state_root, checkpoint = fields(anchor, "height", "state_root", "checkpoint")
    return Header(
        number(version, 8),
        hexadecimal(chain, 32),
        number(epoch),
        number(height),
        hexadecimal(parent, 32),
        hexadecimal(root, 32),
        number(time),
        address(proposer),
        Anchor(number(anchor_height), hexadecimal(state_root, 32), hexadecimal(checkpoint, 32)),
    )


class Commit(NamedTuple):
    """What COMMIT says."""

    epoch: int
    view: int
    height: int
    block: bytes

    KIND = "commit"

    def encode(self) -> bytes:
        return u64(self.epoch) + u64(self.view) + u64(self.height) + self.block


class Checkpoint(NamedTuple):
    """What CHECKPOINT says: what executing everything up to a block gave."""

    epoch: int
    height: int
    block: bytes
    state_root: bytes
    receipts_root: bytes
    next_validators: bytes

    KIND = "checkpoint"

    def encode(self) -> bytes:
        hashes = self.block + self.state_root + self.receipts_root + self.next_validators
        return u64(self.epoch) + u64(self.height) + hashes

    def hash(self) -> bytes:
        return sha256(tag("checkpoint"), self.encode())

    def anchor(self) -> Anchor:
        return Anchor(self.height, self.state_root, self.hash())


def multi_signature(n: int, votes: Sequence[Tuple[int, bytes]]) -> bytes:
    """The encoding of a bitmap of signers and their signatures, in the order of the signers."""
    bits = bytearray((n + 7) // 8)
    for index, _ in votes:
        bits[index // 8] |= 1 << index % 8
    return u16(n) + bytes(bits) + vector([signature for _, signature in votes])


def check_certificate(answer: Any, payload: Any, chain: bytes, validators: ValidatorSet) -> None:
    """That what `chain_getCertificate` answered proves that a quorum signed `payload`, a `Commit` or `Checkpoint`."""
    votes = []
    for vote in answer["votes"]:
        index, signature = fields(vote, "validator", "signature")
        votes.append((number(index, 16), hexadecimal(signature, 64)))
    indices = [index for index, _ in votes]
    if indices != sorted(set(indices)) or (indices and indices[-1] >= validators.n):
        raise Wrong(f"the signers {indices} are not rising places in a set of {validators.n}")
    if len(votes) < validators.quorum:
        raise Wrong(f"{len(votes)} of {validators.n} validators signed, a quorum is {validators.quorum}")
    if hexadecimal(answer["bytes"]) != payload.encode() + multi_signature(validators.n, votes):
        raise Wrong("its bytes are not the encoding of its members")
    signed = message(payload.KIND, chain, payload.encode())
    for index, signature in votes:
        if not ed25519.verify(validators.keys[index], signed, signature):
            raise Wrong(f"the signature of validator {index} does not hold")


# Genesis ------------------------------------------------------------------------------------------------------------

class Genesis:
    """A genesis document: what is in it, its canonical text, and the chain id."""

    def __init__(self, text: str):
        document = json.loads(text, object_pairs_hook=_members_once)
        if not isinstance(document, dict):
            raise Wrong("the genesis document is not an object")
        known = {"name", "engine", "time", "validators", "accounts", "parameters"}
        if set(document) - known or not {"name", "time", "validators"} <= set(document):
            raise Wrong(f"the genesis document has the keys {sorted(document)}")
        if document.get("engine", "pbft") != "pbft":
            raise Wrong(f"engine {document['engine']!r} is unknown")
        self.name = document["name"]
        self.time = number(document["time"])
        names = {}
        for entry in document["validators"]:
            if not {"key"} <= set(entry) <= {"key", "name"}:
                raise Wrong(f"{entry!r} is not a validator")
            key = hexadecimal(entry["key"].lower(), 32)
            if key in names or not ed25519.is_usable_key(key):
                raise Wrong(f"the validator key {show(key)} is there twice, or nobody can own it")
            names[key] = entry.get("name", "")
        self.validators = ValidatorSet(list(names))
        if not 1 <= self.validators.n <= 200:
            raise Wrong(f"there are {self.validators.n} validators")
        self.accounts: Dict[bytes, int] = {}
        for entry in document.get("accounts", []):
            account, balance = fields(entry, "address", "balance")
            if address(account) in self.accounts:
                raise Wrong(f"account {account} is there twice")
            self.accounts[address(account)] = decimal(balance)
        if sum(self.accounts.values()) >= 1 << 128:
            raise Wrong("the balances add up to more than an amount can say")
        self.parameters = read_parameters(document.get("parameters", {}))
        self.canonical = self._canonical(names)
        self.chain = sha256(self.canonical.encode("utf-8"))

    def _canonical(self, names: Dict[bytes, str]) -> str:
        decimals = {"fee_base", "fee_per_byte"}
        values = {key: str(value) if key in decimals else value for key, value in self.parameters.items()}
        tree = {
            "name": self.name,
            "engine": "pbft",
            "time": self.time,
            "validators": [{"key": show(key), "name": names[key]} for key in self.validators.keys],
            "accounts": [
                {"address": bech32m.encode(key), "balance": str(self.accounts[key])} for key in sorted(self.accounts)
            ],
            "parameters": values,
        }
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _members_once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Wrong(f"a key is written twice among {[name for name, _ in pairs]}")
    return members
