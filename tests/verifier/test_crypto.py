"""The verifier's cryptography against the published vectors of crypto/tests/vectors."""

import json
import os
import unittest

import bech32m
import ed25519
from fake_node import SecretKey

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "crypto", "tests", "vectors")


def vectors(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return json.load(file)


class Ed25519(unittest.TestCase):
    def test_rfc_8032_signatures_hold_and_are_made_to_the_bit(self):
        cases = vectors("rfc8032-ed25519.json")
        self.assertEqual(len(cases), 5)
        for case in cases:
            key, signature = bytes.fromhex(case["public"]), bytes.fromhex(case["signature"])
            message = bytes.fromhex(case["message"])
            secret = SecretKey(bytes.fromhex(case["secret"]))
            self.assertEqual(secret.public, key, case["name"])
            self.assertEqual(secret.sign(message), signature, case["name"])
            self.assertTrue(ed25519.verify(key, message, signature), case["name"])
            self.assertFalse(ed25519.verify(key, message + b"\0", signature), case["name"])

    def test_cctv_signatures_hold_exactly_by_zip_215(self):
        held = 0
        for case in vectors("cctv-ed25519.json"):
            flags = set(case["flags"] or ())
            expected = "reencoded_k" not in flags or "low_order_A" in flags
            key, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
            holds = ed25519.verify(key, case["msg"].encode("utf-8"), signature)
            self.assertEqual(holds, expected, case["number"])
            self.assertEqual(ed25519.is_usable_key(key), "low_order_A" not in flags, case["number"])
            held += holds
        self.assertEqual(held, 826)

    def test_wycheproof_verdicts_are_ours_but_for_one_encoding(self):
        count = 0
        for group in vectors("wycheproof-ed25519.json")["testGroups"]:
            key = bytes.fromhex(group["publicKey"]["pk"])
            for case in group["tests"]:
                # 151: R with x = 0 and the sign bit set, which RFC 8032 refuses and ZIP-215 accepts.
                expected = case["result"] == "valid" or case["tcId"] == 151
                holds = ed25519.verify(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                self.assertEqual(holds, expected, case["tcId"])
                count += 1
        self.assertEqual(count, 151)

    def test_s_must_be_below_the_order(self):
        secret = SecretKey(bytes(32))
        signature = secret.sign(b"message")
        s = int.from_bytes(signature[32:], "little") + ed25519.ORDER
        self.assertFalse(ed25519.verify(secret.public, b"message", signature[:32] + s.to_bytes(32, "little")))

    def test_bytes_of_no_point_are_no_key(self):
        # y = 2 is on no point of the curve.
        self.assertIsNone(ed25519.decompress(b"\2" + bytes(31)))
        self.assertFalse(ed25519.is_usable_key(b"\2" + bytes(31)))


class Bech32m(unittest.TestCase):
    # ledger/src/primitives/tests.rs
    COUNTING = "qr1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s3dgk8n"
    PADDED = "qr1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc03vmur6p"
    SHORT = "qr1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq6h23q6"

    def test_addresses_read_back(self):
        self.assertEqual(bech32m.encode(bytes(range(32))), self.COUNTING)
        self.assertEqual(bech32m.decode(self.COUNTING), bytes(range(32)))
        self.assertEqual(bech32m.decode(self.COUNTING.upper()), bytes(range(32)))

    def test_what_is_not_the_one_spelling_is_refused(self):
        mistyped = self.COUNTING[:10] + "z" + self.COUNTING[11:]
        mixed = self.COUNTING[:-1] + self.COUNTING[-1].upper()
        foreign = "bc" + self.COUNTING[2:]
        for text in (mistyped, mixed, foreign, self.PADDED, self.SHORT, "qr1", ""):
            with self.assertRaises(ValueError, msg=text):
                bech32m.decode(text)


if __name__ == "__main__":
    unittest.main()
