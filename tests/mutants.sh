#!/usr/bin/env bash
# Mutation testing of src/wire, src/conn, src/hub and src/mailbox.rs.
#
#   tests/mutants.sh [PATTERN]     all of cargo-mutants' mutants, or those whose name has the pattern
#                                  (`hub/topics.rs`, `in Outbox::advance`)
#
# A copy of the working tree, under target/, gets all mutants at once, each behind a switch (tests/mutants/);
# so it is built once, and each mutant costs the few tests that it takes to kill it. Those in constants are
# built one by one. It takes an hour or two, and prints how it went with each, a table and the figure; it fails if less
# than 90 % are killed, or if one survives that tests/mutants/argued.toml does not speak of.
#
# $MUTANTS_JOBS is how many are tried at once (as many as there are processors; tests wait more than they compute, so that
# some times as many take less time), $MUTANTS_SECONDS when no further one is (three hours on; the order is by chance, so
# that those that were tried are a sample), and $MUTANTS_UNDER, words, comes before each command. It needs the Rust
# toolchain and Python 3.11; what else is missing comes from apt-get, cargo and PyPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/mutants
export PATH=$target/tools/bin:$PATH
mkdir -p "$work"

packages=()
command -v mold >/dev/null || packages+=(mold)
command -v strace >/dev/null || packages+=(strace)
python3 -c 'import ensurepip, venv' || packages+=(python3 python3-venv)
if ((${#packages[@]})); then
    as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    "${as_root[@]}" apt-get -q update
    "${as_root[@]}" apt-get -qy install --no-install-recommends "${packages[@]}"
fi
cargo mutants --version >/dev/null 2>&1 ||
    cargo install -q cargo-mutants --version 27.1.0 --locked --root "$target/tools"
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q -r tests/mutants/requirements.txt

rm -rf "$work/tree"
mkdir "$work/tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --preserve=timestamps -t "$work/tree"
# The model of the mailbox is a test; `Timers` is there for benchmarks only.
(cd "$work/tree" && cargo mutants --list --json --no-config --all-features -f 'src/wire/**' -f 'src/conn/**' \
    -f 'src/hub/**' -f src/mailbox.rs --exclude-re 'Timers::') >"$work/mutants.json"
exec "$work/venv/bin/python" -B tests/mutants/campaign.py "$work" "$@"
