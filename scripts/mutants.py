#!/usr/bin/env python3
"""Breaks one rule of the protocol at a time and sees which test notices: a rule that nothing notices has no test.

  scripts/mutants.py [NAME...]             try these patches of tests/mutants, or all of them; prints a table
  scripts/mutants.py --check               only see that every patch still applies to this checkout and has its row in the table
  scripts/mutants.py --resume [NAME...]    keep the verdicts of a run that was interrupted
  scripts/mutants.py --simulate [NAME...]  the simulator tries those too that a unit test notices

Nothing is changed in the checkout: copies of it are kept, with a target directory of their own, in MUTANTS_DIR
(~/.cache/quorate/mutants). Most patches are woven into one program (mutants_weave.py), so that each costs a run of the tests
and no build. Unit tests are tried first, those of the crate that is patched and those of the engine; what survives them meets
the simulator's scenarios and its random seeds from 0 on.

A test that fails because the function under test asserted is no more than that assertion, so such kills are listed apart.
"""

import argparse
import fcntl
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import types

from mutants_weave import Patch, copy_at, function_at, weave

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PATCHES = CHECKOUT / "tests/mutants"
# Where the table is kept. A patch that has not been tried yet has a row that says so: `| name | rule | not run |  |`.
PAGE = CHECKOUT / "docs/testing.md"
ROW = re.compile(r"^\| ([a-z0-9-]+) \| (docs/\S+ .*?) \| [^|]+ \| [^|]* \|$")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
SCRATCH = pathlib.Path(os.environ.get("MUTANTS_DIR") or CACHE / "quorate/mutants")
VERDICTS = SCRATCH / "verdicts"
# No test takes nearly as long: a mutant that does has stopped for good.
SECONDS_MAX = 15 * 60
# Nor needs as much memory: one that loops must not take the machine with it.
MEMORY_MAX = 8 << 30
# Seeds are tried in runs of so many, so that the rest need not be waited for where an early one fails.
SEEDS_AT_ONCE = 20
# The tests that make their inputs up take nearly all of the time, and come when the others have found nothing. The longest is
# of one function.
MADE_UP = "fuzz"
LONGEST, ITS_FILE = "every_small_input", "reproposal.rs"
PRODUCTION = re.compile(r"^(?:consensus|ledger|crypto|genesis|network|node)/src/")
TESTS = re.compile(r"/tests[./]|/fuzz|/fixtures\.rs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="seeds of the simulator (200)")
    asked = parser.parse_args()
    patches = [Patch(path) for path in sorted(PATCHES.glob("*.patch"))]
    chosen = [it for it in patches if not asked.names or it.name in asked.names]
    if strangers := set(asked.names) - {it.name for it in patches}:
        sys.exit(f"no mutant is called {', '.join(sorted(strangers))}")
    check(patches)
    if asked.check:
        return
    VERDICTS.mkdir(parents=True, exist_ok=True)
    lock = (SCRATCH / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another run uses {SCRATCH}")
    os.nice(19)
    begun = time.monotonic()
    bench = Bench(patches, asked)
    for patch in chosen:
        bench.verdict(patch)
    print_table(chosen, time.monotonic() - begun)


def check(patches):
    """Every patch says which rule it breaks, and applies; the table has a row for each, and no other."""
    bad = 0
    for patch in patches:
        path = PATCHES / f"{patch.name}.patch"
        if not patch.rule:
            print(f"{path} does not begin with the rule that it breaks", file=sys.stderr)
            bad += 1
        elif subprocess.run(["git", "apply", "--check", path], cwd=CHECKOUT, check=False).returncode:
            print(f"{path} does not apply any more: make it again", file=sys.stderr)
            bad += 1
    rows = {row[1]: row[2] for line in PAGE.read_text().split("\n") if (row := ROW.match(line))}
    rules = {patch.name: patch.rule for patch in patches}
    for name in sorted(rows.keys() | rules.keys()):
        if rows.get(name) != rules.get(name):
            print(f"{name}: the patch breaks {rules.get(name)}, its row in {PAGE} {rows.get(name)}", file=sys.stderr)
            bad += 1
    print(f"{len(patches)} mutants", file=sys.stderr)
    if bad:
        sys.exit(1)


class Bench:
    """Where mutants are built and tried."""

    def __init__(self, patches, asked):
        self.asked = asked
        self.woven = {patch.number: patch for patch in patches}
        self.sources = self.files()
        self.programs = {}
        self.sound = set()

    def verdict(self, patch):
        """What came out for a patch, tried now if it is not known."""
        path = VERDICTS / patch.name
        known = json.loads(path.read_text()) if self.asked.resume and path.exists() else {}
        found = known if known.get("patch") == patch.digest else {"patch": patch.digest, **self.try_units(patch)}
        if self.asked.seeds and "seeds" not in found and (self.asked.simulate or found["by"] is None):
            found |= self.try_simulator(patch, found["by"])
        path.write_text(json.dumps(found))
        print(f"{patch.name}: {found['by']} {found.get('seeds', '')}", file=sys.stderr, flush=True)

    def try_units(self, patch):
        """The first unit test that notices; one that fails by an assertion only if there is no other."""
        asserted = None
        skip = [] if patch.file.endswith(ITS_FILE) else ["--skip", LONGEST]
        crates = dict.fromkeys([patch.crate, "consensus"])
        for tests, crate in itertools.product((["--skip", MADE_UP], [MADE_UP]), crates):
            found, _ = self.run(patch, crate, [*tests, *skip])
            if found["by"] and "asserted" not in found:
                return found
            asserted = asserted or (found["by"] and found)
        return asserted or {"by": None}

    def try_simulator(self, patch, by):
        """Scenarios, unless a unit test has noticed already, and seeds from 0 on, until one fails."""
        if by is None:
            found, _ = self.run(patch, "simulator", ["--skip", "any_seed"])
            by = found["by"] and f"simulator: {found['by']}"
        first, end, failed = 0, 0, None
        while end < self.asked.seeds and not failed:
            first, end = end, min(end + SEEDS_AT_ONCE, self.asked.seeds)
            failed = self.failed_seed(patch, first, end)
        # Two workers share the seeds: one below may fail too.
        while failed and (lower := self.failed_seed(patch, first, failed - 1)):
            failed = lower
        return {"by": by or (failed and "simulator: any_seed_holds_every_claim"), "seeds": failed}

    def failed_seed(self, patch, first, end):
        """How many seeds it took, of those from `first` on."""
        if first >= end:
            return None
        found, output = self.run(patch, "simulator", ["any_seed"], {"QUORATE_SEEDS": f"{first}..{end}"})
        seeds = [int(it) for it in re.findall(r"QUORATE_SEED=(\d+)", output)]
        return min(seeds, default=end - 1) + 1 if found["by"] else None

    def run(self, patch, suite, arguments, environment=types.MappingProxyType({})):
        """Runs a suite of tests against a mutant: what came out, and all that was said."""
        program, error = self.program(suite, patch)
        if error:
            return {"by": error}, ""
        tree = SCRATCH / ("woven" if patch.number in self.woven else "tree")
        crate = "tests" if suite == "simulator" else suite
        # Nobody's mutant passes: else a kill would say nothing.
        if patch.number in self.woven and (suite, *arguments) not in self.sound:
            found, _ = Run(program, arguments, {"QUORATE_MUTANT": "0", **environment}, tree, crate, None).judge()
            if found["by"]:
                sys.exit(f"the tests fail without any mutant: {found['by']}")
            self.sound.add((suite, *arguments))
        environment = {"QUORATE_MUTANT": str(patch.number), **environment}
        return Run(program, arguments, environment, tree, crate, patch).judge()

    def program(self, suite, patch):
        """A suite that holds a mutant: the woven one, or one that is built for it alone."""
        if patch.number in self.woven and suite not in self.programs:
            self.programs[suite] = self.build_woven(suite)
        if patch.number in self.woven:
            return self.programs[suite], None
        self.write("tree", self.plain(patch))
        program, output = self.build("tree", suite)
        return program, None if program else f"DOES NOT COMPILE: {first_error(output)}"

    def build_woven(self, suite):
        """Builds a suite with all mutants in it. Those whose copy does not compile are left out, to be tried alone."""
        while True:
            woven, left = weave(CHECKOUT, self.woven)
            for number in left:
                del self.woven[number]
            self.write("woven", {pathlib.Path(path): text.encode() for path, text in woven.items()})
            program, output = self.build("woven", suite)
            if program:
                # Put aside: cargo gives what is built in the other copy the same name.
                return shutil.copy2(program, SCRATCH / f"woven-{suite}")
            places = re.findall(r"^error.*\n(?: .*\n)*? *--> ([^:\n]+):(\d+)", output, re.MULTILINE)
            copies = {copy_at(SCRATCH / "woven" / path, int(line))[1] for path, line in places} - {0}
            if not copies:
                sys.exit(f"the woven tests do not compile:\n{output}")
            for number in copies:
                del self.woven[number]

    def build(self, tree, suite):
        """Builds a suite; the program, or what the compiler said."""
        what = {
            "simulator": ["-p", "quorate-tests", "--test", "simulator"],
            "node": ["-p", "quorate-node", "--bins"],
        }.get(suite, ["-p", f"quorate-{suite}", "--no-default-features", "--lib"])
        environment = {
            **os.environ,
            "CARGO_TARGET_DIR": str(SCRATCH / "target"),
            "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "64",
            # Short builds matter more than fast tests, but signatures should stay fast, and so should many seeds.
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "3" if suite == "simulator" else "1",
        }
        faster = 'profile.release.package."*".opt-level=3'
        command = ["cargo", "--config", faster, "test", "--locked", "--release", "--no-run", *what]
        done = subprocess.run(
            [*command, "--message-format=json-render-diagnostics"],
            cwd=SCRATCH / tree,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        programs = [it["executable"] for it in found if it.get("executable") and it["profile"]["test"]]
        return (programs[-1] if done.returncode == 0 else None), done.stderr

    def files(self):
        """The files of the checkout."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
        paths = [pathlib.Path(it) for it in listed.split("\0") if it]
        return {path: (CHECKOUT / path).read_bytes() for path in paths if (CHECKOUT / path).is_file()}

    def plain(self, patch):
        """The patched file, by itself."""
        path = pathlib.Path(patch.file)
        lines = self.sources[path].decode().split("\n")
        for at, end, new in reversed(patch.edits(lines)):
            lines[at:end] = new
        return {path: "\n".join(lines).encode()}

    def write(self, tree, changed):
        """Brings a copy to what the checkout holds, with these files as they are given. Only what differs is written, and so
        gets a new time: cargo builds that anew and nothing else."""
        root = SCRATCH / tree
        for stale in [it for it in root.rglob("*") if it.is_file() and it.relative_to(root) not in self.sources]:
            stale.unlink()
        for path, content in {**self.sources, **changed}.items():
            target = root / path
            if target.exists() and target.read_bytes() == content:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            shutil.copymode(CHECKOUT / path, target)


class Run:
    """One run of a test program, ended as soon as a test has failed by its own judgement."""

    def __init__(self, program, arguments, environment, tree, crate, patch):
        self.command = [program, "--nocapture", *arguments]
        self.environment = {**os.environ, **environment}
        self.tree, self.crate, self.patch = tree, crate, patch
        self.output = []
        self.panics = {}
        self.asserted = None

    def judge(self):
        # Tests of a crate run in its directory, as cargo does it.
        process = subprocess.Popen(
            self.command,
            cwd=self.tree / self.crate,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=limit,
        )
        signal.alarm(SECONDS_MAX)
        try:
            by = next(filter(None, map(self.read, process.stdout)), None)
        except TimeoutError:
            by = f"hangs for {SECONDS_MAX // 60} minutes"
        finally:
            signal.alarm(0)
            if process.poll() is None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.stdout.close()
        code = process.wait()
        output = "".join(self.output)
        if by is None and self.asserted:
            return self.asserted, output
        # What tests say at once may run into each other: at the end the names of those that failed stand alone.
        listed = re.search(r"^failures:\n    (\S+)\n", output, re.MULTILINE)
        if by is None and code != 0 and listed:
            by = listed[1]
        if by is None and code != 0:
            full = "memory allocation of" in output
            by = "loops until memory is full" if full else f"ENDS WITHOUT A TEST: {output[-200:]!r}"
        return {"by": by}, output

    def read(self, line):
        """The test that has failed by its own judgement with this line, if one has."""
        self.output.append(line)
        if panic := re.search(r"thread '([^']+)'.* panicked at (\S+?):(\d+):\d+:", line):
            self.panics.setdefault(panic[1], (panic[2], int(panic[3])))
        failed = re.search(r"\btest (\S+) (?:- should panic )?\.\.\. FAILED", line)
        if not failed:
            return None
        place, at = self.panics.get(failed[1], ("", 0))
        if not PRODUCTION.match(place) or TESTS.search(place) or in_tests(self.tree / place, at):
            return failed[1]
        function, mutant = copy_at(self.tree / place, at)
        if mutant == 0 and self.tree.name == "tree" and place == self.patch.file:
            mutant = function == self.patched_function()
        found = {"by": failed[1], "asserted": f"{place} {function}", "same": bool(mutant)}
        if self.asserted is None or self.asserted["same"]:
            self.asserted = found
        return None

    def patched_function(self):
        lines = (CHECKOUT / self.patch.file).read_text().split("\n")
        return function_at(lines, self.patch.edits(lines)[0][0])[2]


def in_tests(path, line):
    """Whether a line is in the module of tests at the end of a file."""
    lines = path.read_text().split("\n")
    return any(it == "#[cfg(test)]" and lines[at + 1].endswith("{") and at < line for at, it in enumerate(lines[:-1]))


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))


def first_error(output):
    return next((line for line in output.splitlines() if line.startswith("error")), output[-200:])


def print_table(patches, seconds):
    """The table for docs/testing.md; fails if a mutant survived."""
    rows, apart, survivors = [], [], []
    for patch in patches:
        found = json.loads((VERDICTS / patch.name).read_text())
        seeds = {"seeds": "", **found}["seeds"]
        seeds = "none" if seeds is None else seeds
        by = found["by"]
        if by is None or by[:4].isupper():
            survivors.append(patch.name)
        if found.get("same"):
            apart.append(f"| {patch.name} | {patch.rule} | {by} | {found['asserted']} |")
            continue
        also = f", by the assertion in {found['asserted']}" if found.get("asserted") else ""
        rows.append(f"| {patch.name} | {patch.rule} | {by or 'SURVIVES'}{also} | {seeds} |")
    print("| mutant | breaks | killed by | seeds |", "| --- | --- | --- | --- |", *rows, sep="\n")
    if apart:
        print("\nKilled by an assertion of the patched function itself:\n")
        print("| mutant | breaks | test | asserts in |", "| --- | --- | --- | --- |", *apart, sep="\n")
    print(f"{len(patches)} mutants in {seconds / 60:.0f} minutes", file=sys.stderr)
    if survivors:
        sys.exit(f"{len(survivors)} survive, tests are missing: {', '.join(survivors)}")


def on_alarm(_signal, _frame):
    raise TimeoutError


signal.signal(signal.SIGALRM, on_alarm)

if __name__ == "__main__":
    main()
