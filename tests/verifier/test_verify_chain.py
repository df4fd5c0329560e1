"""The verifier against chains: an honest one, one made by the crates, and many with one lie each."""

import copy
import json
import os
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from unittest import mock

import bech32m
import verify_chain
from fake_node import FakeNode, SecretKey
from formats import Genesis, ValidatorSet, Wrong, multi_signature, readiness_message, show

HERE = os.path.dirname(os.path.abspath(__file__))

VALIDATORS = [SecretKey(bytes([seed]) * 32) for seed in range(4)]
ALICE, BOB, CAROL = (SecretKey(bytes([seed]) * 32) for seed in (10, 11, 12))

DOCUMENT = {
    "name": "test",
    "time": 1_767_225_600_000,
    "validators": [{"key": show(key.public)} for key in VALIDATORS],
    "accounts": [
        {"address": bech32m.encode(ALICE.public), "balance": "1000"},
        {"address": bech32m.encode(BOB.public), "balance": "1000"},
    ],
    "parameters": {"fee_base": "1"},
}


def transfer(to, amount):
    return {"type": "transfer", "to": bech32m.encode(to.public), "amount": str(amount)}


def put(key, value):
    return {"type": "put", "key": show(key), "value": show(value)}


def honest():
    """Six blocks; the fourth has no certificate of its own."""
    node = FakeNode(Genesis(json.dumps(DOCUMENT)), VALIDATORS)
    node.add_block()
    node.add_block([node.signed(ALICE, [transfer(CAROL, 5), put(b"door", b"open")], 1)])
    node.add_block([node.signed(BOB, [put(b"door", b"mine")], 1), node.signed(CAROL, [transfer(BOB, 9)], 1)])
    node.add_block([node.signed(ALICE, [{"type": "delete", "key": show(b"door")}], 2)], certified=False)
    node.add_block([node.signed(SecretKey(bytes([13]) * 32), [transfer(BOB, 0)], 1)])
    node.add_block()
    return node


JOINING = SecretKey(bytes([20]) * 32)


def members(*keys):
    return [{"key": show(key.public), "readiness": None} for key in keys]


def approve(change):
    return {"type": "approve", "change": change}


def epoch_node():
    """A chain whose epochs end two blocks after their end is decided."""
    document = {**DOCUMENT, "parameters": {"fee_base": "1", "window": 2}}
    return FakeNode(Genesis(json.dumps(document)), [*VALIDATORS, JOINING])


def node_parameters(**changed):
    values = {**epoch_node().genesis.parameters, **changed}
    return {name: str(value) if name.startswith("fee_") else value for name, value in values.items()}


def epoch_ending(height):
    """The end is decided in block 2, with block 4; blocks up to a height."""
    node = epoch_node()
    node.add_block()
    checkpoint = node.headers[0].anchor.checkpoint
    signature = JOINING.sign(readiness_message(node.genesis.chain, 0, checkpoint))
    statement = {"checkpoint": show(checkpoint), "signature": show(signature)}
    joining = {"key": show(JOINING.public), "readiness": statement}
    change = {"validators": [joining, *members(*VALIDATORS[:3])]}
    node.add_block([node.signed(key, [approve(change)], 0) for key in VALIDATORS[:3]])
    while len(node.headers) < height:
        node.add_block()
    return node


def three_epochs():
    """Block 4 ends the first epoch, 9 the second, which begins with a block without a certificate of its own."""
    node = epoch_ending(4)
    node.add_block(certified=False)
    node.add_block()
    change = {"parameters": node_parameters(fee_base=9)}
    node.add_block([node.signed(key, [approve(change)], 0) for key in (JOINING, *VALIDATORS[:2])])
    node.add_block()
    node.add_block()
    node.add_block([node.signed(ALICE, [transfer(BOB, 1)], 9)])
    return node


def verify(node, to=None):
    return verify_chain.verify(node.genesis, node, to, pause=lambda seconds: None)


class Honest(unittest.TestCase):
    def test_an_honest_chain_holds(self):
        chain = verify(honest())
        self.assertEqual((chain.height, chain.transactions, chain.failed), (6, 5, 3))
        self.assertEqual((chain.certificates, chain.checkpoints, chain.checkpoint_height), (5, 5, 6))
        self.assertIn("blocks 1 to 6", chain.summary())

    def test_a_height_can_be_asked_for(self):
        self.assertEqual(verify(honest(), to=4).height, 4)
        self.assertEqual(verify(honest(), to=0).height, 0)

    def test_a_certificate_that_comes_a_moment_later_is_waited_for(self):
        node = honest()
        late, asked = node.answers["chain_getCertificate", 6, "commit"], []
        node.answers["chain_getCertificate", 6, "commit"] = None

        def pause(seconds):
            asked.append(seconds)
            node.answers["chain_getCertificate", 6, "commit"] = late

        self.assertEqual(verify_chain.verify(node.genesis, node, None, pause).height, 6)
        self.assertEqual(len(asked), 1)

    def made_by_the_crates(self, name):
        # Made and kept up to date by tests/tests/verifier.rs.
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            golden = json.load(file)

        def ask(method, parameters):
            for one in golden["answers"]:
                if (one["method"], one["parameters"]) == (method, parameters):
                    return one["result"]
            raise AssertionError(f"{method} {parameters} is not in the file")

        genesis = Genesis(golden["genesis"])
        self.assertEqual(genesis.canonical, golden["genesis"])
        return verify_chain.verify(genesis, ask)

    def test_the_chain_that_the_crates_made_holds(self):
        chain = self.made_by_the_crates("golden_chain.json")
        self.assertEqual((chain.height, chain.transactions, chain.failed), (4, 13, 10))
        self.assertEqual((chain.certificates, chain.checkpoints), (3, 3))

    def test_the_epochs_that_the_crates_made_hold(self):
        chain = self.made_by_the_crates("golden_epochs.json")
        self.assertEqual((chain.height, chain.transactions, chain.failed), (9, 16, 5))
        self.assertIn("2, from height 9", chain.summary())

    def test_an_honest_chain_of_three_epochs_holds(self):
        chain = verify(three_epochs())
        self.assertEqual((chain.height, chain.failed), (10, 0))
        self.assertIn("2, from height 10", chain.summary())


class Liars(unittest.TestCase):
    """The verifier must say where a chain is wrong, and what it is."""

    def refused(self, node, *words):
        with self.assertRaises(Wrong) as caught:
            verify(node)
        for word in words:
            self.assertIn(word, str(caught.exception))


class Epochs(Liars):
    """One rule of epochs broken in each test."""

    def test_the_old_epoch_decides_nothing_above_its_end(self):
        node = epoch_ending(4)
        node.add_block(epoch=0)
        self.refused(node, "height 5", "of epoch 0, this height is of epoch 1")

    def test_the_new_epoch_decides_nothing_below_its_start(self):
        node = epoch_ending(3)
        node.add_block(epoch=1)
        self.refused(node, "height 4", "of epoch 1, this height is of epoch 0")

    def test_the_signatures_of_the_old_set_do_not_count_in_the_new_epoch(self):
        node = epoch_ending(4)
        old = node.genesis.validators
        node.add_block(signers=old)
        self.refused(node, "height 5", "the commit certificate", "does not hold")

    def test_the_signatures_of_the_new_set_do_not_count_in_the_old_epoch(self):
        node = epoch_ending(3)
        new = ValidatorSet([key.public for key in (*VALIDATORS[:3], JOINING)])
        node.add_block(signers=new)
        self.refused(node, "height 4", "the commit certificate", "does not hold")

    def test_a_proposer_that_left(self):
        node = epoch_ending(4)
        node.add_block(proposer=VALIDATORS[3].public)
        self.refused(node, "height 5", "its proposer is no validator")

    def test_an_epoch_begins_on_the_checkpoint_of_the_last_block_before_it(self):
        node = epoch_ending(4)
        node.add_block(anchor=node.results[3].anchor())
        self.refused(node, "height 5", "it begins an epoch and anchors height 3")

    def test_the_limits_are_those_of_the_epoch(self):
        node = three_epochs()
        node.add_block([node.signed(ALICE, [transfer(BOB, 1)], 8)])
        self.refused(node, "height 11", "offers a fee of 8")

    def test_free_approvals(self):
        change = {"validators": members(*VALIDATORS)}
        cases = (
            ([VALIDATORS[0], VALIDATORS[0]], "two approvals of one validator"),
            ([ALICE], "a fee of 0"),
        )
        for senders, words in cases:
            node = epoch_node()
            node.add_block([node.signed(key, [approve(change)], 0, nonce=str(n)) for n, key in enumerate(senders)])
            self.refused(node, "height 1", words)
        node = epoch_node()
        node.add_block([node.signed(VALIDATORS[0], [approve(change)] * 2, 0)])
        self.refused(node, "height 1", "a fee of 0")

    def test_statements_of_new_validators(self):
        statement = {"checkpoint": "0x" + "00" * 32, "signature": "0x" + "00" * 64}
        change = {"validators": [{"key": show(JOINING.public), "readiness": statement}]}
        node = epoch_node()
        node.add_block([node.signed(VALIDATORS[0], [approve(change)], 1_000, nonce=nonce) for nonce in "12"])
        self.refused(node, "height 1", "two transactions of one sender with statements")

    def test_changes_that_no_epoch_can_have(self):
        parameters = node_parameters()
        cases = (
            ({"validators": []}, "0 validators"),
            ({"validators": members(ALICE, BOB, ALICE)}, "3 validators, 2 different"),
            ({"validators": [{"key": "0x" + "00" * 32, "readiness": None}]}, "a validator that nobody can be"),
            ({"parameters": {**parameters, "window": 0}}, "window = 0"),
            ({"parameters": {**parameters, "window": 65, "log_window": 129}}, "log_window below twice the window"),
            ({"parameters": {**parameters, "transaction_lifetime_max_ms": 59_999}}, "a lifetime of 59999"),
        )
        for change, words in cases:
            node = epoch_node()
            node.add_block([node.signed(VALIDATORS[0], [approve(change)], 0)])
            self.refused(node, "height 1", "approves of", words)


class Lies(Liars):
    """Each test changes one thing of the honest chain."""

    def change(self, height, change, kind=None):
        node = honest()
        method = "chain_getBlock" if kind is None else "chain_getCertificate"
        change(node.answers[method, height, kind])
        return node

    def test_another_chain(self):
        node = honest()
        other = Genesis(json.dumps({**DOCUMENT, "name": "other"}))
        with self.assertRaisesRegex(Wrong, "is of chain"):
            verify_chain.verify(other, node)

    def test_headers(self):
        other = "0x" + "11" * 32
        changes = {
            "version": 2,
            "chain": other,
            "epoch": 1,
            "height": 3,
            "parent": other,
            "transactions_root": other,
            "time": 1,
            "proposer": bech32m.encode(ALICE.public),
        }
        for name, value in changes.items():

            def change(answer, name=name, value=value):
                answer["header"][name] = value

            # With the name that the changed header really has, so that the rule itself is what refuses it.
            node = self.change(2, change)
            answer = node.answers["chain_getBlock", 2, None]
            self.refused(node, "height 2", "its header has the hash")
            answer["hash"] = show(verify_chain.header(answer["header"]).hash())
            self.refused(node, "height 2")

    def test_anchors(self):
        def state_root(answer):
            answer["header"]["anchor"]["state_root"] = "0x" + "11" * 32
            answer["hash"] = show(verify_chain.header(answer["header"]).hash())

        def above_itself(answer):
            answer["header"]["anchor"]["height"] = 6
            answer["hash"] = show(verify_chain.header(answer["header"]).hash())

        self.refused(self.change(5, state_root), "height 5", "anchor")
        self.refused(self.change(5, above_itself), "height 5", "anchors height 6")

    def test_transactions(self):
        def amount(answer):
            answer["transactions"][0]["payload"]["operations"][0]["amount"] = "6"

        def signature(answer):
            answer["transactions"][0]["signature"] = "0x" + "00" * 64

        def left_out(answer):
            answer["transactions"].clear()

        def unknown(answer):
            answer["transactions"][0]["payload"]["operations"][0] = {"type": "mint", "amount": "6"}

        self.refused(self.change(2, amount), "height 2", "has the id")
        self.refused(self.change(2, signature), "height 2", "has the hash")
        self.refused(self.change(2, left_out), "height 2", "have the root")
        self.refused(self.change(2, unknown), "height 2", "no operation that this verifier knows")

    def test_receipts(self):
        def paid(answer):
            answer["transactions"][0]["receipt"]["fee_paid"] = "0"

        def succeeded(answer):
            answer["transactions"][0]["receipt"]["outcome"] = {"status": "ok"}

        self.refused(self.change(2, paid), "height 2", "the receipt should be")
        self.refused(self.change(3, succeeded), "height 3", "NOT_OWNER")

    def test_commit_certificates(self):
        def too_few(answer):
            answer["votes"].pop()

        def twice(answer):
            answer["votes"][1] = answer["votes"][0]

        def another_view(answer):
            answer["certificate"]["view"] = 1

        def another_block(answer):
            answer["certificate"]["block"] = "0x" + "11" * 32

        def swapped(answer):
            one, other = answer["votes"][:2]
            one["signature"], other["signature"] = other["signature"], one["signature"]

        def other_bytes(answer):
            answer["bytes"] = answer["bytes"][:-2] + "00"

        self.refused(self.change(2, too_few, "commit"), "height 2", "a quorum is 3")
        self.refused(self.change(2, twice, "commit"), "height 2", "rising places")
        self.refused(self.change(2, another_view, "commit"), "height 2")
        self.refused(self.change(2, another_block, "commit"), "height 2", "names block")
        self.refused(self.change(2, swapped, "commit"), "height 2")
        self.refused(self.change(2, other_bytes, "commit"), "its bytes are not the encoding")
        node = honest()
        node.answers["chain_getCertificate", 2, "commit"] = None
        self.refused(node, "height 2", "no commit certificate")

    def test_signatures_are_verified_and_not_only_counted(self):
        node = honest()
        forged = node.certificate(node.results[2]._replace(height=3))
        answer = node.answers["chain_getCertificate", 2, "checkpoint"]
        votes = [(vote["validator"], bytes.fromhex(vote["signature"][2:])) for vote in forged["votes"]]
        answer["votes"] = forged["votes"]
        encoding = node.results[2].encode() + multi_signature(node.genesis.validators.n, votes)
        answer["bytes"] = show(encoding)
        self.refused(node, "height 2", "the signature of validator 0 does not hold")

    def test_headers_up_to_a_descendants_certificate(self):
        def none(answer):
            answer["headers"].clear()

        def another(answer):
            answer["headers"][0]["time"] += 1

        self.refused(self.change(4, none, "commit"), "height 4", "names block")
        self.refused(self.change(4, another, "commit"), "height 4", "names block")

    def test_a_block_that_claims_a_certificate_has_one(self):
        def claims(answer):
            answer["certified"] = True

        self.refused(self.change(4, claims), "height 4", "a certificate of its own")

    def test_checkpoint_certificates(self):
        for name in ("block", "state_root", "receipts_root", "next_validators"):

            def change(answer, name=name):
                answer["certificate"][name] = "0x" + "11" * 32

            self.refused(self.change(3, change, "checkpoint"), "height 3", name)

    def test_answers_of_another_shape(self):
        node = honest()
        node.answers["chain_getBlock", 2, None] = {"header": 5}
        self.refused(node, "height 2")
        node.answers["chain_getBlock", 2, None] = None
        self.refused(node, "height 2", "no such block")
        self.refused(self.change(2, lambda answer: answer.pop("votes"), "commit"), "height 2", "shape")

    def test_a_transaction_twice(self):
        node = honest()
        late = node.next_time() + 50
        signed = node.signed(ALICE, [transfer(BOB, 1)], 1, expires_at=late)
        node.add_block([signed])
        node.add_block([signed])
        self.refused(node, "height 8", "a second time")

    def test_transactions_that_no_block_may_hold(self):
        node = honest()
        lasting = {"expires_at": node.next_time() + 60_001}
        cases = (
            (node.signed(ALICE, [], 1), "has 0 operations"),
            (node.signed(ALICE, [transfer(BOB, 1)] * 65, 1), "has 65 operations"),
            (node.signed(ALICE, [put(b"", b"")], 1), "a key of 0 bytes"),
            (node.signed(ALICE, [put(bytes(257), b"")], 1), "a key of 257 bytes"),
            (node.signed(ALICE, [put(b"k", bytes(16_385))], 1), "a value of 16385 bytes"),
            (node.signed(ALICE, [transfer(BOB, 1)], 0), "a fee of 0"),
            (node.signed(ALICE, [transfer(BOB, 1)], 1, **lasting), "expires at"),
            (node.signed(ALICE, [transfer(BOB, 1)], 1, expires_at=node.next_time()), "expires at"),
            (node.signed(ALICE, [transfer(BOB, 1)], 1, version=2), "another format"),
            (node.signed(ALICE, [transfer(BOB, 1)], 1, chain="0x" + "11" * 32), "another format or chain"),
            (node.signed(ALICE, [transfer(BOB, 1)], 1, sender=bech32m.encode(BOB.public)), "not signed by its sender"),
        )
        for signed, words in cases:
            liar = honest()
            liar.add_block([signed])
            self.refused(liar, "height 7", words)


class OverHttp(unittest.TestCase):
    """The whole program, as it is started."""

    def run_program(self, node, *arguments):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                result = node(call["method"], call["params"])
                body = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode("utf-8")
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            text = mock.mock_open(read_data=json.dumps(DOCUMENT))
            with mock.patch("verify_chain.open", text, create=True), mock.patch("sys.stdout") as stdout, mock.patch(
                "sys.stderr"
            ) as stderr:
                stderr.isatty.return_value = False
                code = verify_chain.main(["--rpc", url, "--genesis", "genesis.json", *arguments])
            printed = [call.args[0] for out in (stdout, stderr) for call in out.write.call_args_list]
            return code, "".join(printed)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_it_ends_with_0_when_everything_holds(self):
        code, printed = self.run_program(honest())
        self.assertEqual(code, 0)
        self.assertIn("everything holds", printed)

    def test_it_ends_with_1_and_the_first_thing_wrong(self):
        node = honest()
        node.answers["chain_getBlock", 3, None]["header"]["time"] += 1
        code, printed = self.run_program(node)
        self.assertEqual(code, 1)
        self.assertIn("WRONG: height 3: the block is called", printed)

    def test_it_ends_with_2_when_nobody_answers(self):
        with mock.patch("sys.stderr"), mock.patch(
            "verify_chain.open", mock.mock_open(read_data=json.dumps(DOCUMENT)), create=True
        ):
            self.assertEqual(verify_chain.main(["--rpc", "http://127.0.0.1:1", "--genesis", "genesis.json"]), 2)


if __name__ == "__main__":
    unittest.main()
