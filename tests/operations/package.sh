#!/usr/bin/env bash
# What is installed with the server: its unit, its socket, its configuration, and the Debian package of them.
#
#   tests/operations/package.sh SERVER         the files, read as systemd and the server read them
#   tests/operations/package.sh SERVER deb     and the package, built by cargo deb and unpacked into an empty root
#
# SERVER is the pushloop binary; for the package, that of target/release. Prints `ok NAME` or `FAIL NAME` for each check.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
server=$(realpath "$1")
target=${CARGO_TARGET_DIR:-target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# check NAME COMMAND [ARGUMENT]...
check() {
    if "${@:2}" >"$scratch/log" 2>&1; then
        echo "ok $1"
    else
        failed=1
        echo "FAIL $1"
        cat "$scratch/log"
    fi
}

is_told_to_run() {
    sed "s#/usr/bin/pushloop#$server#" packaging/pushloop.service >"$scratch/pushloop.service"
    cp packaging/pushloop.socket "$scratch"
    systemd-analyze verify --man=no "$scratch/pushloop.service" "$scratch/pushloop.socket"
}

# From 0, which can do nothing, to 100, which can do all; 14 when it was written.
can_do_little() {
    systemd-analyze security --offline=true --threshold=15 packaging/pushloop.service
}

is_a_package() {
    "$target/tools/bin/cargo-deb" deb --no-build --no-strip --output "$scratch/pushloop.deb" &&
        mkdir "$scratch/tree" && dpkg-deb --extract "$scratch/pushloop.deb" "$scratch/tree" &&
        dpkg-deb --info "$scratch/pushloop.deb" conffiles | grep -x /etc/pushloop/pushloop.toml &&
        ls "$scratch"/tree/usr/lib/systemd/system/pushloop.{service,socket}
}

unpacked_server_runs() {
    PUSHLOOP_CONFIG=$scratch/tree/etc/pushloop/pushloop.toml "$scratch/tree/usr/bin/pushloop" check &&
        [[ $("$scratch/tree/usr/bin/pushloop" --version) == "$("$server" --version)" ]]
}

check unit_is_understood is_told_to_run
check unit_can_do_little can_do_little
check configuration_is_taken "$server" check --config packaging/pushloop.toml
if [[ ${2-} == deb ]]; then
    "$target/tools/bin/cargo-deb" --version >/dev/null 2>&1 ||
        cargo install -q cargo-deb --version 3.8.0 --locked --root "$target/tools"
    check package_has_all is_a_package
    check package_runs unpacked_server_runs
fi
exit "$failed"
