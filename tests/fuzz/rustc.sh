#!/usr/bin/env bash
# rustc.sh RUSTC ARGUMENT...
#
# The compiler of tests/fuzz.sh. What libFuzzer sees are the targets, the crate, and of what these depend on, what reads
# what the fuzzer makes. Anything else is compiled without the options for it: most of it never runs, but it would be
# looked through after each execution.

seen='base64|flate2|httparse|program|protocol|pushloop|rustls|serde_json|toml|toml_parser|winnow|zlib_rs'
[[ " $* " =~ " --crate-name "($seen)" " ]] && exec "$@"
for argument; do
    case $argument in
    -Cpasses=sancov-module | -Cllvm-args=-sanitizer-coverage-* | -Cllvm-args=-simplifycfg-*) ;;
    *) kept+=("$argument") ;;
    esac
done
exec "${kept[@]}"
