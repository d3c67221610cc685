#!/usr/bin/env bash
# The Autobahn testsuite against examples/autobahn_server.rs, without Docker.
#
#   tests/autobahn.sh [core | rules | load | subset | all]...   `core subset` when nothing is said
#   tests/autobahn.sh wss [core | …]...                         the same over TLS
#   tests/autobahn.sh install                                   only install the suite
#
#   core     the 301 cases without compression, which are
#   rules      the 247 of the protocol's rules, and
#   load       the 54 of limits and performance
#   subset   some of the 216 cases with compression
#   all      the 517 cases
#
# $AUTOBAHN_UNDER, words, comes before the server's command, and $AUTOBAHN_LISTEN is where it listens
# (127.0.0.1:0): tests/kernel/autobahn.sh makes the network bad with them.
#
# Each case is an `ok` or a `FAIL` line (tests/autobahn/judge.py says what passes), then comes a
# table. The suite's reports, with every frame, are in $CARGO_TARGET_DIR/autobahn/; the suite itself
# is in $AUTOBAHN_CACHE, or ~/.cache/autobahn. The exit status is 0 only when the suite could be
# installed and run and every case passed.
#
# It needs a Debian on x86-64 (apt-get and dpkg, but not root), and python3 with its venv module.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=${AUTOBAHN_CACHE:-$HOME/.cache/autobahn}/25.10.1
site=$root/usr/lib/pypy/dist-packages
target=${CARGO_TARGET_DIR:-target}
results=$target/autobahn

# Cases with compression for `subset`: each size of message once with the offer of no parameters
# or with one of the others, and the automatic fragments of each size.
compressed=12.1.1,12.1.3,12.2.5,12.3.7,12.4.8,12.5.10,12.1.11,12.2.14,12.3.16
compressed+=,13.1.2,13.2.4,13.3.6,13.4.8,13.5.5,13.6.11,13.7.3,13.7.17

# The suite is a Python 2 program. These are the last versions of what it needs for Python 2.7:
# wheels, and what exists as (pure) source only.
wheels=(
    autobahntestsuite==25.10.1 Twisted==19.10.0 zope.interface==4.6.0
    attrs==21.4.0 Automat==22.10.0 constantly==15.1.0 hyperlink==21.0.0
    idna==2.10 incremental==16.10.1 jinja2==2.11.3 linecache2==1.0.0
    markupsafe==1.1.1 six==1.16.0 traceback2==1.4.0 typing==3.10.0.0
    unittest2==1.1.0 pip==20.3.4 setuptools==44.1.1 wheel==0.37.1
)
sources=(autobahn==0.10.9 txaio==2.1.0)

die() {
    echo "autobahn.sh: $*" >&2
    exit 2
}

pypy=(env "LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/pypy")

# The suite imports TLS, which would need a compiler and an old OpenSSL: an empty module takes its
# place. For `wss`, it comes through tests/autobahn/tunnel.py.
wstest=("${pypy[@]}" -c '
import sys, types, twisted.internet
tls = types.ModuleType("twisted.internet.ssl")
tls.ClientContextFactory = lambda: None
sys.modules[tls.__name__] = twisted.internet.ssl = tls
from autobahntestsuite.wstest import run
run()')

# This machine's own apt sources, with the release that last had PyPy 2.7 in place of its own.
debian_11_sources() {
    local release
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
        # The first paragraph is the archive; the others are updates, which that release has no more.
        sed "/^\$/q; s/$release-[a-z]*//g; s/$release/bullseye/" \
            /etc/apt/sources.list.d/debian.sources >"$1/bullseye.sources"
    else
        sed -n "s/^\\(deb .*\\) $release main.*/\\1 bullseye main/p" \
            /etc/apt/sources.list >"$1/bullseye.list"
    fi
}

# PyPy is unpacked into the cache, so that no package of the system changes.
install_pypy() {
    local apt=$root/apt deb
    mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/debs"
    debian_11_sources "$apt/sources"
    local get=(
        apt-get -q -o APT::Sandbox::User="$(id -un)" -o "Dir::Cache=$apt"
        -o "Dir::State::Lists=$apt/lists" -o Dir::Etc::sourcelist=/dev/null
        -o "Dir::Etc::sourceparts=$apt/sources"
    )
    "${get[@]}" update
    (cd "$apt/debs" && "${get[@]}" download pypy pypy-lib libffi7 libssl1.1)
    for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$root"; done
    rm -r "$apt"
}

# The wheels' C extensions are CPython's; the suite runs without them.
install_packages() {
    local install=(-m pip install -qq --no-deps --no-compile -t "$site")
    python3 -m venv "$root/venv"
    "$root/venv/bin/python" "${install[@]}" --ignore-requires-python --only-binary :all: \
        --python-version 27 --implementation cp --abi cp27mu \
        --platform manylinux1_x86_64 "${wheels[@]}"
    "${pypy[@]}" "${install[@]}" --no-build-isolation --no-python-version-warning "${sources[@]}"
    rm -r "$root/venv"
}

install_suite() {
    [[ ! -e $root/complete ]] || return 0
    [[ $(dpkg --print-architecture) == amd64 ]] || die "the suite's PyPy is for x86-64"
    rm -rf "$root"
    mkdir -p "$root"
    install_pypy
    install_packages
    touch "$root/complete"
}

started=()
stop() {
    [[ ! ${started[*]} ]] || kill "${started[@]}"
}
trap stop EXIT

# start NAME COMMAND [ARGUMENT]...: sets $url to what it says.
start() {
    # What an earlier run left would name a port of that run.
    rm -f "$results/$1.out"
    "${@:2}" >"$results/$1.out" &
    local process=$!
    started+=("$process")
    for _ in {1..100}; do
        url=$(grep -Eso 'wss?://.*' "$results/$1.out") && return
        kill -0 "$process" || break
        sleep 0.1
    done
    die "the $1 does not start"
}

# Sets $url.
start_server() {
    cargo build -q --release --features deflate,tls --example autobahn_server
    local under certificate=()
    read -ra under <<<"${AUTOBAHN_UNDER:-}"
    if [[ $over ]]; then
        tests/operations/certificates.sh "$results" 2>"$results/certificates.log"
        certificate=("$results/chain.pem" "$results/key.pem")
    fi
    start server ${under[@]+"${under[@]}"} "$target/release/examples/autobahn_server" \
        "${AUTOBAHN_LISTEN:-127.0.0.1:0}" "${certificate[@]}"
    [[ ! $over ]] || start tunnel python3 tests/autobahn/tunnel.py "${url#wss://}" "$results/authority.pem"
}

# run_cases NAME NUMBER CASES EXCLUDED: runs and judges.
run_cases() {
    local outdir=$results/$over$1
    rm -rf "$outdir"
    mkdir -p "$outdir"
    python3 -c '
import json, sys
url, outdir, cases, excluded = sys.argv[1:]
print(json.dumps({
    "servers": [{"agent": "pushloop", "url": url}], "outdir": outdir, "exclude-agent-cases": {},
    "cases": cases.split(","), "exclude-cases": [case for case in excluded.split(",") if case],
}))' "$url" "$(realpath "$outdir")" "$3" "$4" >"$outdir/spec.json"
    echo "autobahn.sh: $over$1, $2 cases"
    "${wstest[@]}" -m fuzzingclient -s "$outdir/spec.json" >"$outdir/wstest.log" 2>&1 ||
        die "the suite ended: $outdir/wstest.log"
    [[ -e $outdir/index.json ]] || die "the suite left no results: $outdir/wstest.log"
    python3 tests/autobahn/judge.py "$2" "$outdir"
}

main() {
    local status=0
    over=
    if [[ $1 == wss ]]; then
        over=wss- && shift
        (($#)) || set -- core subset
    fi
    for set in "$@"; do
        case $set in
        core | rules | load | subset | all | install) ;;
        *) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
        esac
    done
    install_suite
    [[ $* != install ]] || return 0
    mkdir -p "$results"
    python3 tests/autobahn/judge.py --self-test
    start_server
    for set in "$@"; do
        case $set in
        core) run_cases core 301 '*' '12.*,13.*' ;;
        rules) run_cases rules 247 '*' '9.*,12.*,13.*' ;;
        load) run_cases load 54 '9.*' '' ;;
        subset) run_cases subset 17 "$compressed" '' ;;
        all) run_cases all 517 '*' '' ;;
        esac || status=1
    done
    return "$status"
}

(($#)) || set -- core subset
main "$@"
