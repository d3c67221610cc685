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

# need FILE PACKAGE...: the file or the command is there, or apt-get brings it.
need() {
    [[ -e $1 ]] || command -v "$1" || {
        local as_root=()
        ((EUID == 0)) || as_root=(sudo -n --preserve-env=DEBIAN_FRONTEND)
        "${as_root[@]}" apt-get -q update &&
            "${as_root[@]}" apt-get -qy install --no-install-recommends "${@:2}"
    }
}

tools() {
    need taskset util-linux && need node nodejs npm && need npm npm && need strace strace &&
        need valgrind valgrind && need g++ g++ && need /usr/include/zlib.h zlib1g-dev &&
        need openssl openssl && need /usr/include/openssl/ssl.h libssl-dev
}

# quietly LOG COMMAND...: what it says is only shown if it fails.
quietly() {
    local log=$target/$1.log
    "${@:2}" >"$log" 2>&1 || { cat "$log" >&2 && echo "compare.sh: $1 failed" >&2 && exit 1; }
}

mkdir -p "$target"
quietly python need python3 python3
case " $* " in
*" --help "* | *" -h "* | *" --from "*) ;;
*)
    quietly tools tools
    quietly programs cargo build --locked --release --manifest-path benches/compare/Cargo.toml --target-dir "$target"
    quietly peers benches/peers/peers.sh install uwebsockets bun fastwebsockets sockudo tungstenite ws
    ;;
esac
# 10,000 connections want as many descriptors at either end.
ulimit -n "$(ulimit -Hn)"
exec python3 -B benches/compare/compare.py "$@"
