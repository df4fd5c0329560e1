#!/usr/bin/env bash
# Breaks one rule of the protocol at a time and sees which test notices: a rule that nothing notices has no test.
#
#   scripts/mutants.sh [NAME…]           try these patches of tests/mutants, or all of them; prints a table
#   scripts/mutants.sh --resume [NAME…]  the same, but keep the verdicts of a run that was interrupted
#   scripts/mutants.sh --check           only see that every patch still applies to this checkout
#
# Nothing is changed in the checkout: a copy of it is kept, with a target directory of its own, in MUTANTS_DIR
# (~/.cache/quorate/mutants), so that each patch costs a small build. Unit tests are tried first, those of the crate that is
# patched and those of the engine; what survives them meets the scenarios and MUTANTS_SEEDS (200) random seeds of the
# simulator (0: it is left out). MUTANTS_SIMULATOR=always sends every mutant there too.
#
# A test that fails because the code under test asserted is no more than that assertion, so such kills are listed apart.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD
patches=$checkout/tests/mutants
seeds=${MUTANTS_SEEDS:-200}
scratch=${MUTANTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate/mutants}
tree=$scratch/tree
output=$scratch/output
# A file for each mutant that was tried, with what came out.
verdicts=$scratch/verdicts
# No test takes nearly as long: a mutant that does has stopped for good.
minutes_max=15
# Nor needs as much memory: one that loops must not take the machine with it.
memory_kib_max=$((8 << 20))

# All patches, or those that are named.
names() {
  if [ $# -gt 0 ]; then printf '%s\n' "$@"; return; fi
  find "$patches" -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' | sort
}

rule_of() { sed -n '1s/^Breaks \(.*\)\.$/\1/p' "$patches/$1.patch"; }

check() {
  local name bad=0 count=0
  for name in $(names "$@"); do
    count=$((count + 1))
    if [ -z "$(rule_of "$name")" ]; then
      printf 'tests/mutants/%s.patch does not begin with the rule that it breaks\n' "$name" >&2
      bad=1
    elif ! git apply --check "$patches/$name.patch"; then
      printf 'tests/mutants/%s.patch does not apply any more: make it again\n' "$name" >&2
      bad=1
    fi
  done
  printf '%d mutants\n' "$count" >&2
  return "$bad"
}

# Brings the copy to what the checkout holds. Only what differs is written, and gets a new time, so that cargo builds that
# anew and nothing else.
refresh() {
  local file
  mkdir -p "$tree"
  while IFS= read -r -d '' file; do
    if [ -f "$file" ] && ! cmp --silent "$file" "$tree/$file"; then
      mkdir -p "$tree/$(dirname "$file")"
      cp "$file" "$tree/$file.next"
      touch "$tree/$file.next"
      mv "$tree/$file.next" "$tree/$file"
    fi
  done < <(git ls-files -z --cached --others --exclude-standard)
}

apply() { (cd "$tree" && GIT_CEILING_DIRECTORIES=$scratch git apply "$@"); }

# Small builds matter more than fast tests, but signatures should stay fast.
run_cargo() {
  (
    cd "$tree"
    ulimit -v "$memory_kib_max"
    export CARGO_TARGET_DIR=$scratch/target CARGO_PROFILE_RELEASE_INCREMENTAL=true
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64
    exec timeout "$((minutes_max * 60))" nice -n 19 \
      cargo --config 'profile.release.package."*".opt-level=3' "$@"
  )
}

# The first test that failed by its own judgement, else the assertion that stopped the code; nothing if all passed.
killer() {
  local place thread first_assertion=''
  while read -r thread place; do
    case "$place" in
      */tests/* | */tests.rs:* | tests/*) printf '%s' "$thread"; return ;;
      consensus/src/* | ledger/src/* | crypto/src/*) first_assertion=${first_assertion:-"$thread: asserted at ${place%:*:}"} ;;
      *) printf '%s' "$thread"; return ;;
    esac
  done < <(sed -nE "s/^thread '([^']+)'.* panicked at ([^ ]+)$/\1 \2/p" "$output")
  printf '%s' "$first_assertion"
}

# Runs tests; succeeds with who killed the mutant in `verdict`, fails if nobody did.
killed_by() {
  local code=0
  run_cargo test --locked --release --no-fail-fast "$@" >"$output" 2>&1 || code=$?
  [ "$code" -ne 0 ] || return 1
  if [ "$code" -eq 124 ]; then verdict="hangs for $minutes_max minutes"; return 0; fi
  if grep -q '^error: could not compile' "$output"; then verdict='DOES NOT COMPILE'; return 0; fi
  verdict=$(killer)
  if grep -q '^memory allocation of' "$output"; then verdict='loops until memory is full'; fi
  [ -n "$verdict" ] || verdict="FAILS WITHOUT A TEST, see $output"
}

unit() {
  local crate=$1
  shift
  killed_by -p "quorate-$crate" --no-default-features --lib -- "$@"
}

# Scenarios and random seeds. Seeds are tried from 0 upwards, so that the number of one says how many it took.
simulator() {
  local seed scenario
  [ "$seeds" -gt 0 ] || return 1
  export QUORATE_SEEDS=$seeds
  killed_by -p quorate-tests --test simulator || return 1
  seed=$(sed -nE 's/.*QUORATE_SEED=([0-9]+) .* any_seed.*/\1/p' "$output" | sort -n | head -n 1)
  scenario=$(sed -nE 's/^test ([a-z_0-9]+) \.\.\. FAILED$/\1/p' "$output" | grep -v '^any_seed' | head -n 1 || true)
  [ -z "$scenario" ] || verdict="simulator: $scenario"
  [ -z "$seed" ] || verdict="${scenario:+$verdict, and }seed $seed"
}

# The copy as it should be. Unpatched, everything passes: else a kill would say nothing.
prepare() {
  refresh
  if unit consensus --skip every_small_input; then
    printf 'the tests fail without any mutant: %s\n' "$verdict" >&2
    exit 1
  fi
  ready=true
}

try() {
  local name=$1 crate
  $ready || prepare
  crate=$(sed -nE 's,^\+\+\+ b/([a-z]+)/.*,\1,p' "$patches/$name.patch")
  apply "$patches/$name.patch"
  verdict=SURVIVES
  # The one long test is of one function.
  local long=(--skip every_small_input)
  if grep -q '^+++ .*/reproposal.rs' "$patches/$name.patch"; then long=(); fi
  unit "$crate" "${long[@]}" \
    || { [ "$crate" != consensus ] && unit consensus "${long[@]}"; } \
    || simulator \
    || true
  if [ "${MUTANTS_SIMULATOR:-}" = always ] && [ "$verdict" != SURVIVES ]; then
    local by_unit=$verdict
    if simulator; then verdict="$by_unit; $verdict"; else verdict=$by_unit; fi
  fi
  apply -R "$patches/$name.patch"
  printf '%s\n' "$verdict" >"$verdicts/$name"
}

if [ "${1:-}" = --check ]; then
  shift
  check "$@"
  exit
fi

resume=false
if [ "${1:-}" = --resume ]; then
  resume=true
  shift
fi
check "$@"
mkdir -p "$scratch" "$verdicts"
exec 9>"$scratch/lock"
flock --nonblock 9 || { printf 'another run uses %s\n' "$scratch" >&2; exit 1; }
ready=false
asserted='' survivors=0
printf '| mutant | breaks | killed by |\n| --- | --- | --- |\n'
for name in $(names "$@"); do
  if $resume && [ -s "$verdicts/$name" ]; then verdict=$(cat "$verdicts/$name"); else try "$name"; fi
  row=$(printf '| %s | %s | %s |' "$name" "$(rule_of "$name")" "$verdict")
  case "$verdict" in
    *': asserted at '*) asserted+=$row$'\n'; printf '%s (apart)\n' "$name" >&2 ;;
    SURVIVES | 'DOES NOT'* | FAILS*) survivors=$((survivors + 1)); printf '%s\n' "$row" ;;
    *) printf '%s\n' "$row" ;;
  esac
done
if [ -n "$asserted" ]; then
  printf '\nKilled by an assertion of the code itself:\n\n| mutant | breaks | asserted |\n| --- | --- | --- |\n%s' "$asserted"
fi
[ "$survivors" -eq 0 ] || { printf '\n%d survive: tests are missing\n' "$survivors" >&2; exit 1; }
