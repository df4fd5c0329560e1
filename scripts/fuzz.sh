#!/usr/bin/env bash
# Runs every fuzz target, one after the other, each for FUZZ_SECONDS, and says how often each was run and what it found.
# Without arguments the targets of every crate; with names of crates, those of these.
#
# A target is a test in a module `fuzz` (docs/testing.md, Fuzzing).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
crates=("$@")
[ $# -gt 0 ] || crates=(quorate-crypto quorate-genesis quorate-ledger quorate-consensus quorate-network quorate-node)
export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000))
output=$(mktemp --tmpdir quorate-fuzz.XXXXXX)
trap 'rm -f "$output"' EXIT
found=0

for crate in "${crates[@]}"; do
  # The node is a program, the others are libraries.
  [ "$crate" = quorate-node ] && kind=--bins || kind=--lib
  test=(cargo test --release --locked --quiet -p "$crate" "$kind" --)
  targets=$("${test[@]}" --list --format terse | sed -n 's/^\(\(.*::\)\?fuzz::.*\): test$/\1/p')
  for target in $targets; do
    if "${test[@]}" --exact "$target" --nocapture >"$output" 2>&1; then
      verdict='nothing found'
    else
      verdict='FOUND SOMETHING'
      found=1
    fi
    runs=$(sed -n 's/.*run time: \([^ ]*\) .*rng inputs: \([0-9]*\).*/\2 runs in \1/p' "$output")
    printf '%s %s: %s, %s\n' "$crate" "$target" "${runs:-no run}" "$verdict"
    [ "$verdict" = 'nothing found' ] || cat "$output"
  done
done
exit "$found"
