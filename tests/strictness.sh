#!/usr/bin/env bash
# How strict a server is, row by row (tests/strictness/): examples/echo.rs with its defaults.
#
#   tests/strictness.sh            pushloop alone: every row has to pass
#   tests/strictness.sh --peers    and the servers of benches/peers/, each built and installed first
#   tests/strictness.sh --write    and puts the table of all into docs/CONFORMANCE.md
#
# `ok` and `FAIL` lines. First the probe itself is tried on a server that is wrong in every row
# (tests/strictness/lax.py): a row that it passes cannot fail, and so proves nothing.
# What each server did is in $CARGO_TARGET_DIR/strictness/. $PROGRAMS is where the server has been built, with its
# folder `examples`; else it is built for release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
programs=${PROGRAMS:-$target/release}
results=$target/strictness
export PYTHONDONTWRITEBYTECODE=1
status=0

server=
stop_server() {
    [[ -z $server ]] || kill "$server"
    server=
}
trap stop_server EXIT

# probe NAME COMMAND...: starts a server and leaves what the probe says in $results/NAME.
probe() {
    local name=$1 address=
    # What an earlier run left would name a port of that run.
    rm -f "$results/$name.out"
    "${@:2}" 127.0.0.1:0 >"$results/$name.out" 2>"$results/$name.err" &
    server=$!
    for _ in {1..100}; do
        ! address=$(grep -som1 '127\.0\.0\.1:[0-9]*' "$results/$name.out") || break
        sleep 0.1
    done
    [[ $address ]] || { echo "strictness.sh: $name does not start" >&2 && exit 2; }
    # Its status is 1 when a row failed, which is judged by the lines; a probe that breaks off has
    # fewer lines.
    python3 tests/strictness/probe.py --pid "$server" "$address" >"$results/$name" || (($? == 1)) ||
        { echo "strictness.sh: $name cannot be probed" >&2 && exit 2; }
    kill -0 "$server" || { echo "strictness.sh: $name ended" >&2 && exit 2; }
    stop_server
    (($(wc -l <"$results/$name") == $(wc -l <"$results/titles"))) ||
        { echo "strictness.sh: the probe of $name broke off" >&2 && exit 2; }
}

# lines NAME VERDICT PREFIX: an `ok` line for each row with that verdict, a `FAIL` line for others.
lines() {
    awk -v wanted="$2" -v prefix="$3" '{
        verdict = $1; $1 = ""
        print (verdict == wanted ? "ok " : "FAIL ") prefix substr($0, 2) (verdict == wanted ? "" : " (" verdict ")")
    }' "$results/$1"
    ! grep -qv "^$2 " "$results/$1" || status=1
}

peers() {
    local name versions=() columns=("pushloop=$results/pushloop")
    benches/peers/peers.sh install
    for name in $(benches/peers/peers.sh names); do
        probe "$name" benches/peers/peers.sh run "$name"
        versions+=("$(benches/peers/peers.sh version "$name")")
        columns+=("$name=$results/$name")
        echo "ok strictness-peer $name: $(grep -c '^pass' "$results/$name") pass," \
            "$(grep -c '^FAIL' "$results/$name") fail"
    done
    local subtitle
    printf -v subtitle '%s, ' "${versions[@]}"
    subtitle="\`tests/strictness.sh --write\`, $(date -u +%F), pushloop at $(git describe --always --dirty), ${subtitle%, }."
    python3 tests/strictness/table.py "$results/titles" "$subtitle" "${columns[@]}" >"$results/table.md"
}

case ${1:-} in
'' | --peers | --write) ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
mkdir -p "$results"
python3 tests/strictness/probe.py --titles >"$results/titles"
probe lax python3 tests/strictness/lax.py
lines lax FAIL "strictness-can-fail "
[[ ${PROGRAMS:-} ]] || cargo build -q --release --all-features --example echo
probe pushloop "$programs/examples/echo"
lines pushloop pass "strictness "
if [[ ${1:-} ]]; then
    peers
    [[ $1 != --write ]] || python3 tests/strictness/table.py --into docs/CONFORMANCE.md "$results/table.md"
fi
exit "$status"
