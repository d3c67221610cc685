#!/usr/bin/env bash
# Servers of other libraries, to compare with: on any path but one each message goes back to its
# sender, on `/fan` to all that are connected there (not so websockets, which only echoes).
#
#   peers.sh names                 their names, one in a line
#   peers.sh install [NAME]...     builds and installs them, or only these
#   peers.sh version NAME          what was installed
#   peers.sh run NAME [ADDRESS]    becomes that server; it prints `listening on HOST:PORT`
#
# UNDER in the environment is a command that the server is run under, as `strace -fc`. With CERTIFICATES, a folder
# with chain.pem and key.pem, it speaks TLS: uwebsockets (a build of its own, with OpenSSL), bun, tungstenite and ws.
#
# Rust, Node with npm, Python with venv, and a C++ compiler with zlib and OpenSSL have to be there. What is built
# and installed is in $CARGO_TARGET_DIR/peers (target/peers). uWebSockets is what the crate
# libuwebsockets-sys carries, which is old; UWEBSOCKETS=FOLDER names a checkout, submodules included.
# Bun is the program in the package of its platform: the package `bun` would download it.
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/../../target}")/peers
bun_version=1.4.5

cargo() {
    command cargo "$1" --manifest-path "$here/Cargo.toml" "${@:2}"
}

locked_version() {
    awk -v name="name = \"$1\"" '$0 == name { getline; gsub(/[^0-9.]/, ""); print }' "$here/Cargo.lock"
}

uwebsockets_source() {
    if [[ ${UWEBSOCKETS:-} ]]; then
        realpath "$UWEBSOCKETS"
    else
        local manifest
        manifest=$(cargo metadata --locked --all-features --format-version 1 |
            grep -o '/[^"]*/libuwebsockets-sys-[^"/]*/Cargo.toml')
        echo "${manifest%/*}/uWebSockets"
    fi
}

install_rust() {
    cargo build --quiet --locked --release --bin "$1" --target-dir "$target"
}

# build_uwebsockets SOURCE OUTPUT FLAG...
build_uwebsockets() {
    local source=$1 output=$2 objects=$target/uwebsockets-objects
    local flags=(-O3 -march=native "${@:3}" -flto=auto -w)
    rm -rf "$objects"
    mkdir -p "$objects"
    # The network library is C, and its files have names of their own in each folder.
    (cd "$objects" && gcc -c -std=c11 "${flags[@]}" -I "$source/uSockets/src" \
        "$source"/uSockets/src/*.c "$source"/uSockets/src/{eventing,crypto}/*.c)
    local with=("$here/uwebsockets.cpp" "$objects"/*.o -lz)
    [[ $output != *-tls ]] || with+=("$source/uSockets/src/crypto/sni_tree.cpp" -lssl -lcrypto)
    g++ -std=c++20 "${flags[@]}" -I "$source/src" -I "$source/uSockets/src" "${with[@]}" -o "$output"
}

install_uwebsockets() {
    local source
    source=$(uwebsockets_source)
    build_uwebsockets "$source" "$target/uwebsockets" -DLIBUS_NO_SSL
    build_uwebsockets "$source" "$target/uwebsockets-tls" -DLIBUS_USE_OPENSSL
    # valgrind knows no AVX-512.
    [[ $(uname -m) != x86_64 ]] ||
        build_uwebsockets "$source" "$target/uwebsockets-valgrind" -DLIBUS_NO_SSL -mno-avx512f
    if [[ ${UWEBSOCKETS:-} ]]; then
        echo "$(git -C "$source" describe --tags), from a checkout"
    else
        echo "v20.58.0, from libuwebsockets-sys $(locked_version libuwebsockets-sys)"
    fi >"$target/uwebsockets.version"
}

uwebsockets_program() {
    local program=$target/uwebsockets
    [[ ${UNDER:-} != valgrind* || ! -e $program-valgrind ]] || program+=-valgrind
    [[ ! ${CERTIFICATES:-} ]] || program+=-tls
    echo "$program"
}

# npm_install FOLDER [PACKAGE]
npm_install() {
    npm install --prefix "$1" --no-package-lock --no-audit --no-fund --loglevel=error "${@:2}"
}

install_ws() {
    cp "$here/package.json" "$here/ws.mjs" "$target"
    npm_install "$target"
}

bun_package() {
    case $(uname -m) in
    aarch64) echo @oven/bun-linux-aarch64 ;;
    *) grep -q avx2 /proc/cpuinfo && echo @oven/bun-linux-x64 || echo @oven/bun-linux-x64-baseline ;;
    esac
}

install_bun() {
    npm_install "$target/bun" "$(bun_package)@$bun_version"
}

bun_program() {
    echo "$target/bun/node_modules/$(bun_package)/bin/bun"
}

install_websockets() {
    python3 -m venv "$target/venv"
    "$target/venv/bin/python" -m pip install -q -r "$here/requirements.txt"
}

names=(tungstenite fastwebsockets sockudo uwebsockets bun ws websockets)

install() {
    local name
    mkdir -p "$target"
    for name in "${@:-${names[@]}}"; do
        case $name in
        tungstenite | fastwebsockets | sockudo) install_rust "$name" ;;
        *) "install_$name" ;;
        esac
    done
}

version() {
    case $1 in
    tungstenite) echo "tokio-tungstenite $(locked_version tokio-tungstenite)" ;;
    fastwebsockets) echo "fastwebsockets $(locked_version fastwebsockets)" ;;
    sockudo) echo "sockudo-ws $(locked_version sockudo-ws)" ;;
    uwebsockets) echo "uWebSockets $(<"$target/uwebsockets.version")" ;;
    bun) echo "Bun $("$(bun_program)" --version)" ;;
    ws) echo "npm ws $(node -p "require('$target/node_modules/ws/package.json').version")" ;;
    websockets) "$target/venv/bin/pip" freeze | sed -n 's/^websockets==/Python websockets /p' ;;
    esac
}

run() {
    local under=()
    read -ra under <<<"${UNDER:-}"
    case $1 in
    tungstenite | fastwebsockets | sockudo) exec "${under[@]}" "$target/release/$1" "${@:2}" ;;
    uwebsockets) exec "${under[@]}" "$(uwebsockets_program)" "${@:2}" ;;
    bun) exec "${under[@]}" "$(bun_program)" "$here/bun.mjs" "${@:2}" ;;
    ws) exec "${under[@]}" node "$target/ws.mjs" "${@:2}" ;;
    websockets) exec "${under[@]}" "$target/venv/bin/python" "$here/websockets_server.py" "${@:2}" ;;
    esac
}

case ${1:-} in
names) printf '%s\n' "${names[@]}" ;;
install | version | run) "$@" ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
