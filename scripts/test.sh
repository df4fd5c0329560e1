#!/usr/bin/env bash
# Every test that CI runs, stage by stage, and how long each took. With names of stages: only those.
#
# All stages use one profile and one target directory, so that RocksDB is compiled once. They stop at the first that
# fails: what comes later would only hide it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
cargo=(--release --locked --workspace)
# As `make build` has it: without what only tests ask of the libraries.
binary=(cargo build --release --locked -p quorate-node)
started=$SECONDS
timings=''

stage() {
  local name=$1 from=$SECONDS
  shift
  printf '\n== %s: %s\n' "$name" "$*" >&2
  if ! "$@"; then
    printf '\n== %s failed after %d s\n%s' "$name" $((SECONDS - from)) "$timings" >&2
    exit 1
  fi
  timings+=$(printf '%-11s %5d s' "$name" $((SECONDS - from)))$'\n'
}

run() {
  case "$1" in
    format) stage format cargo fmt --all --check ;;
    lint) stage lint cargo clippy "${cargo[@]}" --all-targets -- -D warnings ;;
    build)
      stage build "${binary[@]}"
      stage build-tests cargo test "${cargo[@]}" --no-run
      ;;
    # Doc tests are part of it; the tests of the crate `tests` have stages of their own.
    unit) stage unit cargo test "${cargo[@]}" --exclude quorate-tests ;;
    verifier) stage verifier python3 -m unittest discover --start-directory tests/verifier --pattern '*test*.py' ;;
    # The mutants themselves take a quarter of an hour; here it is only seen that they still are mutants of this code.
    mutants) stage mutants scripts/mutants.py --check ;;
    quotes) stage quotes scripts/quotes.py ;;
    simulator) stage simulator cargo test "${cargo[@]}" --test simulator ;;
    end-to-end)
      # A copy of the binary, which no other build can replace under the tests.
      "${binary[@]}"
      QUORATE_BIN=$(mktemp --tmpdir quorate.XXXXXX)
      trap 'rm -f "$QUORATE_BIN"' EXIT
      cp "$target/release/quorate" "$QUORATE_BIN"
      chmod +x "$QUORATE_BIN"
      export QUORATE_BIN
      stage end-to-end cargo test "${cargo[@]}" --test 'e2e*'
      ;;
    *) printf 'no such stage: %s\n' "$1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- format mutants quotes lint build unit verifier simulator end-to-end
for name in "$@"; do run "$name"; done
printf '\n== all passed\n%s%-11s %5d s\n' "$timings" total $((SECONDS - started)) >&2
