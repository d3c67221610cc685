#!/usr/bin/env bash
# tests/fuzz.sh [SECONDS [TARGET]...]
#
# Runs each fuzz target of tests/fuzz/ for SECONDS (60), as many at once as there are processors,
# and prints `ok fuzz-TARGET` and how many executions it was, or what went wrong, the input that did
# it, and `FAIL fuzz-TARGET`. What is built and found is kept under target/; seeds that are worth it
# belong into tests/fuzz/seeds/TARGET/.
#
# With less than a minute for each, the targets are built without AddressSanitizer and less optimized: that is most of
# what the building takes, and a program without the sanitizer has some five times as many executions a second.

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
seconds=${1:-60}
targets=("${@:2}")
target=$(realpath "${CARGO_TARGET_DIR:-target}" 2>/dev/null) || target=$PWD/target
export out=$target/fuzz seconds host
mkdir -p "$out"

# What libFuzzer sees of a program, as `cargo fuzz` asks the compiler for it, but for what no target comes
# to, which is not built and linked, and what rustc.sh leaves out.
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(
    --cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-sanitizer-coverage-stack-depth -Cllvm-args=-simplifycfg-branch-fold-threshold=0
)
if ((seconds >= 60)); then
    flags+=(-Zsanitizer=address)
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
fi

# libFuzzer as Debian has built it, if that can be had: to build it takes longer than the crate.
library=$out/usr/lib/llvm-19/lib/libFuzzer.a
if [[ ! -e $library ]]; then
    (cd "$out" && apt-get -q download libfuzzer-19-dev && dpkg -x libfuzzer-19-dev_*.deb .) >"$out/library.log" 2>&1
fi
[[ ! -e $library ]] || export CUSTOM_LIBFUZZER_PATH=$library

# These are unstable options of the compiler. With `--target`, build scripts go without.
if ! RUSTC_BOOTSTRAP=1 RUSTFLAGS=${flags[*]} RUSTC_WRAPPER=$PWD/tests/fuzz/rustc.sh \
    cargo build --release --manifest-path tests/fuzz/Cargo.toml --target "$host" --target-dir "$out" \
    >"$out/build.log" 2>&1; then
    tail -n 50 "$out/build.log"
    echo "FAIL fuzz-build"
    exit 1
fi
((${#targets[@]})) || mapfile -t targets < <(basename -s .rs tests/fuzz/*/targets/*.rs)

# fuzz TARGET
fuzz() {
    local name=$1 log=$out/$1.log executions program
    program=$(basename "$(dirname "$(dirname tests/fuzz/*/targets/"$1.rs")")")
    mkdir -p "$out/corpus/$name" "$out/artifacts/$name" "tests/fuzz/seeds/$name"
    # A short input is no world: it says what the world is like, and then it is over.
    local lengths=(-max_len=4096)
    [[ $name != worlds ]] || lengths=(-max_len=2048 -len_control=0)
    # A leak check needs ptrace, which a container may not have.
    FUZZ_TARGET=$name "$out/$host/release/$program" -max_total_time="$seconds" -print_final_stats=1 -detect_leaks=0 -timeout=10 \
        "${lengths[@]}" -rss_limit_mb=2048 -artifact_prefix="$out/artifacts/$name/" \
        "$out/corpus/$name" "tests/fuzz/seeds/$name" >"$log" 2>&1 </dev/null
    local status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if ((status == 0 && ${executions:-0} > 0)); then
        echo "ok fuzz-$name"
        echo "figure fuzzing, $name: $executions executions, 0 crashes"
    else
        grep -v '^#[0-9]*	' "$log" | tail -n 60
        echo "FAIL fuzz-$name (status $status)"
        return 1
    fi
}
export -f fuzz

printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'
