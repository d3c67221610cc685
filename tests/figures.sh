#!/usr/bin/env bash
# The figures that sum up what holds, as docs/RELIABILITY.md has them: what each is meant to be, and
# what the last run of tests/run.sh saw. A figure that was not seen is a failure.
#
#   tests/figures.sh           of the last run
#   tests/figures.sh --full    after tests/run.sh --full, which takes hours
#
# Tests and scripts print lines `figure NAME: VALUE`; the rows below say which belong together.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
'') ;;
--full) tests/run.sh --full ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
logs=${CARGO_TARGET_DIR:-target}/run
missing=0

# row WHAT AIM PATTERN...: a pattern is the beginning of a figure's name, a regular expression.
row() {
    local what=$1 aim=$2 pattern values= found
    shift 2
    for pattern; do
        found=$(grep -hoE "figure $pattern.*" "$logs"/*.log | sed 's/^figure //' | sort -u)
        if [[ -z $found ]]; then
            echo "FAIL figure-missing: $pattern" >&2
            missing=1
        fi
        values+=${values:+$'\n'}$found
    done
    echo "| $what | $aim | ${values//$'\n'/<br>} |"
}

commit=$(git describe --always --dirty)
echo "At $commit, $(date +%F):"
echo
echo "| figure | aim | seen |"
echo "| --- | --- | --- |"
row "Autobahn" "all 517: 514 OK, 3 INFORMATIONAL" "Autobahn, "
row "every header, length, close, text, handshake, offer" "0 mismatches with the oracle" \
    "headers of two bytes" "Close payloads" "close codes and reasons" "lengths " "text of " \
    "faults of a handshake" "bodies in chunks" "offers of compression" "unmaskings"
row "every split of short scripts, read and written; one byte at a time" "0 mismatches" \
    "reads of [0-9]+ bytes" "short writes of " "reads and writes of one byte"
row "fuzzing" "0 crashes" "fuzzing, "
row "simulation" "100,000 worlds for a change, 0 violations" "simulated worlds"
row "system calls that fail, at every position" "2,100 runs, 0 hangs, crashes or leaks" \
    "system calls that fail" "errors of accept"
row "resets at every position of a script" "10,000 runs, 0 leaks" "resets at every script position"
row "10,000 peers that never read, beside 100 that do" \
    "memory within the cap and 10 %; the 100 lose nothing" "[0-9,]+ peers that do not read beside"
row "memory over 10^8 messages; 10^6 connections made and ended in every way" \
    "slope below 1 %, or a mebibyte; nothing is left" "soak, "
row "out of descriptors for 60 s" "below 20 % of a processor; accepting again without a new SYN" \
    "out of descriptors" "accepting again"
row "one flooder beside 999 quiet peers" "99 % within 5 ms, no gap over 50 ms" "[0-9]+ peers with messages of"
row "SIGTERM with 10,000 full queues" "all flushed, all closed with 1001" "SIGTERM with full queues"
row "a handler that panics" "others lose nothing" "panics in "
row "a network that cuts, loses, resets" "nothing lost, nothing left" "peers behind a cut wire" \
    "loss of " "resets injected between" "a wire of "
# There is none of it in each run.
[[ ! -e $logs/mutation-testing.log ]] ||
    row "mutation testing of wire, conn, hub and mailbox" "90 % killed, each survivor argued" "mutants killed"
exit $missing
