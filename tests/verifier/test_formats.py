"""The verifier's formats against values that the crates' own golden tests hold, and those of other programs."""

import os
import random
import unittest

import bech32m
import ed25519
from fake_node import SecretKey
from formats import (
    Anchor,
    Genesis,
    Header,
    Operation,
    Transaction,
    ValidatorSet,
    Wrong,
    decimal,
    hexadecimal,
    merkle_root,
    multi_signature,
    number,
    operation,
    sha256,
    show,
    tag,
)
from state import Inner, changed, leaf, node_hash

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# ledger/src/fixtures.rs
CHAIN = sha256(b"a chain for tests")
GENESIS_TIME = 1_700_000_000_000


def key(count):
    return SecretKey(count.to_bytes(2, "little") + bytes([7] * 30))


class Golden(unittest.TestCase):
    # ledger/src/transaction/tests.rs
    TRANSACTION = (
        "01ea72df70d137cf0834af6a09ab883a86308ed4f3be2995bd8cd5a5c933f30bf3a7336e93645e994c9dcd5840e98d930134f98a5586ed"
        "d7b9736146a29dcc65484d00000000000000e86be5cf8b010000d20a3f4eeee073c3f60fe98e0100000007000000002dbfaeb13e002227"
        "7664cf0a6be757ffcc7131e21dea2aea15bd075cab27711705000000000000000000000000000000010400"
        "0000646f6f72040000006f70656e02030000006f6c6403000100000061030101000000620302010000006302000000040000000900000000"
        "000000030301000000640200000065659895b53ef8ab7f8f0ed45b33793d0eb9cc2a6ea3dd995123cc20f86ab6059b62159bc37733ec72"
        "20281661ed24228322407caa77aedd25c1eceefbc4feb0b904"
    )
    ID = "0x02bc5b1eea1ebc1b53298b0d405f4e75b8658950ba83cdeded527d154c8dace1"
    HASH = "0xd8b527ae96c97424536ec942975010dede1dbd1cade1feefe9530364894edad7"

    def test_bytes_id_and_hash_of_a_transaction_with_every_operation(self):
        operations = (
            Operation("transfer", to=key(2).public, amount=5),
            Operation("put", key=b"door", value=b"open"),
            Operation("delete", key=b"old"),
            Operation("key_absent", key=b"a"),
            Operation("key_present", key=b"b"),
            Operation("key_at_version", key=b"c", version=9 << 64 | 4 << 32 | 2),
            Operation("key_equals", key=b"d", value=b"ee"),
        )
        fee = 123_456_789_012_345_678_901_234_567_890
        unsigned = Transaction(1, CHAIN, key(1).public, 77, GENESIS_TIME + 1_000, fee, operations, b"")
        whole = unsigned._replace(signature=key(1).sign(unsigned.message()))
        self.assertEqual(whole.encode().hex(), self.TRANSACTION)
        self.assertEqual(show(whole.id()), self.ID)
        self.assertEqual(show(whole.hash()), self.HASH)
        self.assertTrue(ed25519.verify(whole.sender, whole.message(), whole.signature))

    def test_hash_of_a_header(self):
        # ledger/src/block/tests.rs
        anchor = Anchor(0, sha256(b"state"), sha256(b"checkpoint"))
        root = merkle_root([bytes.fromhex(self.HASH[2:])])
        block = Header(1, CHAIN, 0, 1, CHAIN, root, GENESIS_TIME + 10, key(100).public, anchor)
        self.assertEqual(len(block.encode()), 225)
        self.assertEqual(show(block.hash()), "0xadfc8a08eed70680e543f5e43a119400b2646e83a2d7a2bc4f725f844c286a78")

    def test_hash_of_a_validator_set(self):
        # ledger/src/validators/tests.rs
        validators = ValidatorSet([key(count).public for count in range(4)])
        self.assertEqual(
            show(validators.hash()), "0x92217e394f43415fc82cad9e04e7a6b9a7638201bdb88b24f99a9de50fb3235e"
        )

    def test_canonical_text_and_hash_of_a_genesis(self):
        with open(os.path.join(ROOT, "genesis", "src", "golden.json"), encoding="utf-8") as file:
            text = file.read().strip()
        genesis = Genesis(text)
        self.assertEqual(genesis.canonical, text)
        # genesis/src/tests.rs
        self.assertEqual(show(genesis.chain), "0xf8f9165ea735017c6ca9c16e1226f5d966e8315cba75a2a4bc14971938fef9e8")

    def test_roots_of_certificate_transparency(self):
        # crypto/src/merkle/tests.rs
        inputs = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
        leaves = [bytes.fromhex(one) for one in inputs]
        self.assertEqual(
            merkle_root(leaves).hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        )
        self.assertEqual(
            merkle_root(leaves[:3]).hex(), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        )
        self.assertEqual(merkle_root([]), sha256(b""))


class Rules(unittest.TestCase):
    def test_two_quorums_share_an_honest_validator(self):
        self.assertEqual([ValidatorSet([bytes(32)] * n).quorum for n in (1, 4, 5, 6, 7)], [1, 3, 4, 4, 5])

    def test_signers_stand_at_the_least_significant_bit_first(self):
        votes = [(0, bytes(64)), (9, bytes(64))]
        self.assertEqual(multi_signature(10, votes)[:8].hex(), "0a00" + "0102" + "02000000")

    def test_a_genesis_that_two_readers_could_take_for_two_is_refused(self):
        for text in ('{"name": "a", "name": "b"}', "[]", '{"name": "a", "time": 1, "validators": [], "more": 1}'):
            with self.assertRaises(Wrong, msg=text):
                Genesis(text)

    def test_values_have_one_spelling(self):
        for wrong in (7, "+7", "07", "", "-1", "1.0", str(1 << 128), "\u0667"):
            with self.assertRaises(Wrong, msg=repr(wrong)):
                decimal(wrong)
        for wrong in (True, -1, 1.0, "1", None, 1 << 64):
            with self.assertRaises(Wrong, msg=repr(wrong)):
                number(wrong)
        for wrong in ("00", "0x0", "0xAB", "0x 0", None):
            with self.assertRaises(Wrong, msg=repr(wrong)):
                hexadecimal(wrong)
        for wrong in ({"type": "lock"}, {"type": "delete", "key": "0x", "more": 1}, None, {"type": "check"}):
            with self.assertRaises(Wrong, msg=repr(wrong)):
                operation(wrong)


def naive_root(records, depth=0):
    """docs/formats.md, State, word for word."""
    if not records:
        return bytes(32)
    if len(records) == 1:
        return sha256(tag("state-leaf"), records[0][0], sha256(records[0][1]))
    right = [one for one in records if one[0][depth // 8] >> 7 - depth % 8 & 1]
    left = [one for one in records if one not in right]
    return sha256(tag("state-node"), naive_root(left, depth + 1), naive_root(right, depth + 1))


class Trie(unittest.TestCase):
    def test_the_root_is_that_of_the_records_whatever_the_history(self):
        source = random.Random(1)
        for _ in range(20):
            trie, records = None, {}
            for _ in range(60):
                # Few paths, with common beginnings of anything from none to all bits but the last.
                path = bytearray(32)
                path[0], path[31] = source.choice((0, 1, 0x80)), source.choice((0, 1, 2))
                path = bytes(path)
                record = source.choice((None, b"x", b"y"))
                records.pop(path, None)
                if record is not None:
                    records[path] = record
                new = None if record is None else leaf(path, record)
                trie = changed(trie, int.from_bytes(path, "big"), new)
                self.assertEqual(node_hash(trie), naive_root(sorted(records.items())))

    def test_one_record_is_its_leaf_and_none_is_zeros(self):
        path, other = bytes(32), b"\x80" + bytes(31)
        alone = changed(None, 0, leaf(path, b"x"))
        self.assertEqual(node_hash(alone), sha256(tag("state-leaf"), path, sha256(b"x")))
        both = changed(alone, int.from_bytes(other, "big"), leaf(other, b"y"))
        self.assertIsInstance(both, Inner)
        self.assertEqual(changed(both, int.from_bytes(other, "big"), None), alone)
        self.assertEqual(node_hash(changed(alone, 0, None)), bytes(32))


class Addresses(unittest.TestCase):
    def test_address_of_a_key(self):
        # ledger/src/primitives/tests.rs
        self.assertEqual(
            bech32m.encode(key(1).public), "qr15uekaymyt6v5e8wdtpqwnrvnqy60nzj4smka0wtnv9r298wvv4yqnsc8h3"
        )


if __name__ == "__main__":
    unittest.main()
