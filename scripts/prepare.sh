#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine that has Rust ready to build Quorate; with --tests, ready for its tests too.
#
# What is there is left alone. What is missing is named with the reason, and installed from the distribution without a
# question where that is possible: as root, or by sudo that needs no password. Elsewhere the one command to run is
# printed, and nothing more is done. Exit code 1: something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

tests=false
case "${1-}" in
  '') ;;
  --tests) tests=true ;;
  *) say "usage: scripts/prepare.sh [--tests]"; exit 2 ;;
esac

# --- Rust ------------------------------------------------------------------------------------------------------------

needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! have cargo || ! have rustc; then
  say "Quorate is written in Rust, which this machine does not have. Install Rust $needed or newer, then run make again:"
  say
  say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  exit 1
fi
version=$(rustc --version | awk '{ print $2 }')
# The older of the two comes first; if that is not the one needed, the one here is older.
if [ "$(printf '%s\n%s\n' "$needed" "$version" | sort -V | head -n 1)" != "$needed" ]; then
  say "Quorate needs Rust $needed or newer, and the rustc of this machine is $version ($(command -v rustc))."
  if have rustup; then
    say "Update it, then run make again:"
    say
    say "  rustup update stable && rustup default stable"
  else
    say "It does not come from rustup, and distributions are often behind. Install a current one beside it, then run"
    say "make again in a new shell:"
    say
    say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
  exit 1
fi
if $tests; then
  for tool in clippy rustfmt; do
    name=${tool/rustfmt/fmt}
    cargo "$name" --version >/dev/null 2>&1 && continue
    if have rustup; then
      say "The tests run cargo $name, which this toolchain lacks; adding the component $tool."
      rustup component add "$tool" >&2
    else
      say "The tests run cargo $name, which this Rust does not have; install it from where this Rust comes from."
      exit 1
    fi
  done
fi

# --- System packages -------------------------------------------------------------------------------------------------

have_libclang() {
  [ -n "${LIBCLANG_PATH-}" ] && return 0
  local library
  for library in /usr/lib/llvm-*/lib/libclang{,-*}.so* /usr/lib{,64,/*-linux-gnu}/libclang{,-*}.so*; do
    # The library alone is not enough: it needs the headers of its own version.
    [ -e "$library" ] && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
    [ -e "$library" ] && compgen -G '/usr/lib*/clang/*/include/stddef.h' >/dev/null && return 0
  done
  return 1
}

packages=()
need() {
  packages+=("$1")
  say "Missing: $1, $2"
}
have g++ || need g++ "which compiles RocksDB, the database, and links the binary"
have_libclang || need libclang-dev "with which the Rust side of RocksDB is generated from its C header"
have pkg-config || need pkg-config "by which builds find the libraries of the system"
if $tests; then
  have python3 || need python3 "in which the independent verifier of the tests is written"
  have openssl || need openssl "with which the tests check that others can read our key files"
fi

if [ ${#packages[@]} -gt 0 ]; then
  install="apt-get install -y --no-install-recommends ${packages[*]}"
  if ! have apt-get; then
    say "This is no Debian or Ubuntu, so these must be installed by hand, whatever they are called here. Then run make again."
    exit 1
  elif [ "$(id -u)" -eq 0 ]; then
    as_root=()
  elif have sudo && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    say "Run this, then make again:"
    say
    if have sudo; then
      say "  sudo sh -c 'apt-get update && $install'"
    else
      say "  su -c 'apt-get update && $install'"
    fi
    exit 1
  fi
  say "Installing ${packages[*]}"
  "${as_root[@]}" apt-get update -qq >&2
  # shellcheck disable=SC2086 # the words of the command are what is meant
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $install -qq >&2
fi

# --- Whose outputs are there -----------------------------------------------------------------------------------------

# Cargo names the outputs of workspace members alike in every checkout and judges them by the age of the files alone: after
# a build of another checkout it could take that one's for this one's. So a change of checkout drops them; what is
# compiled of others' code, RocksDB too, stays.
outputs=${CARGO_TARGET_DIR:-target}
if [ -d "$outputs/release" ] && [ "$(cat "$outputs/checkout" 2>/dev/null)" != "$PWD" ]; then
  members=$(sed -n 's/^members = \[\(.*\)\]/\1/p' Cargo.toml | tr -d '",')
  # shellcheck disable=SC2046,SC2086 # words are what is meant
  say "Another checkout was built into $outputs: dropping what it made of our own code."
  cargo clean --release $(printf -- '-p quorate-%s ' $members) >&2
fi
mkdir -p "$outputs" && printf '%s' "$PWD" >"$outputs/checkout"

# --- What the first build is going to be -----------------------------------------------------------------------------

target=${CARGO_TARGET_DIR:-target}
if ! compgen -G "$target/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
  say "The first build compiles RocksDB, which takes about a quarter of an hour on two cores. It is compiled once:"
  say "the result stays in $target, which later builds and other checkouts use."
fi
