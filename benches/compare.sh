#!/usr/bin/env bash
# Measures pushloop beside other servers and the limit: docs/BENCHMARKS.md has the method.
#
#   benches/compare.sh                 all of it, in about half an hour, to standard output
#   benches/compare.sh --quick         a look at everything in three minutes; the numbers are rough
#   benches/compare.sh --write         and puts the table and the charts into docs/
#   benches/compare.sh --help          the other options
#
# It needs the Rust toolchain, the network, two cores and nothing else that wants them. What is
# missing comes from apt-get (as root, or with a sudo that asks nothing), npm and crates.io; what is
# built is under target/, where the results are left as well (target/compare/results.json).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} DEBIAN_FRONTEND=noninteractive
export CARGO_TERM_COLOR=never
target=$CARGO_TARGET_DIR/compare

install_packages() {
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n --preserve-env=DEBIAN_FRONTEND)
    "${as_root[@]}" apt-get -q update &&
        "${as_root[@]}" apt-get -qy install --no-install-recommends "$@"
}

# need COMMAND PACKAGE...: the command is there, or apt-get brings it.
need() {
    command -v "$1" || install_packages "${@:2}"
    command -v "$1"
}

tools() {
    need taskset util-linux && need python3 python3 && need node nodejs npm && need npm npm &&
        need strace strace && need valgrind valgrind && compiler_and_zlib
}

compiler_and_zlib() {
    [[ $(command -v g++) && -e /usr/include/zlib.h ]] || install_packages g++ zlib1g-dev
}

# quietly FUNCTION: what it says is only shown if it fails.
quietly() {
    local log=$target/$1.log
    "$1" >"$log" 2>&1 || { cat "$log" >&2 && echo "compare.sh: $1 failed" >&2 && exit 1; }
}

peers() {
    benches/peers/peers.sh install uwebsockets bun fastwebsockets sockudo tungstenite ws
}

programs() {
    cargo build --locked --release --manifest-path benches/compare/Cargo.toml --target-dir "$target"
}

mkdir -p "$target"
quietly programs
case " $* " in
*" --help "* | *" -h "* | *" --from "*) exec "$target/release/compare" "$@" ;;
esac
quietly tools
quietly peers
# 10,000 connections want as many descriptors at either end.
ulimit -n "$(ulimit -Hn)"
exec "$target/release/compare" "$@"
