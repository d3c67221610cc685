#!/usr/bin/env bash
# Echo servers of other libraries, to compare with.
#
#   peers.sh names                 their names, one in a line
#   peers.sh install [NAME]...     builds and installs them, or only these
#   peers.sh version NAME          what was installed
#   peers.sh run NAME [ADDRESS]    becomes that server; it prints `listening on HOST:PORT`
#
# Rust, Node with npm, Python with venv, and a C++ compiler with zlib have to be there. What is built
# and installed is in $CARGO_TARGET_DIR/peers (target/peers). uWebSockets is what the crate
# libuwebsockets-sys carries, which is old; UWEBSOCKETS=FOLDER names a checkout, submodules included.
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/../../target}")/peers

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
        cargo metadata --locked --all-features --format-version 1 | python3 -c '
import json, pathlib, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "libuwebsockets-sys":
        print(pathlib.Path(package["manifest_path"]).parent / "uWebSockets")'
    fi
}

install_rust() {
    cargo build --quiet --locked --release --bin "$1" --target-dir "$target"
}

install_uwebsockets() {
    local source objects=$target/uwebsockets-objects
    source=$(uwebsockets_source)
    rm -rf "$objects"
    mkdir -p "$objects"
    # The network library is C, and its files have names of their own in each folder.
    (cd "$objects" && gcc -c -std=c11 -O3 -march=native -flto=auto -w -DLIBUS_NO_SSL \
        -I "$source/uSockets/src" "$source"/uSockets/src/*.c "$source"/uSockets/src/{eventing,crypto}/*.c)
    g++ -std=c++20 -O3 -march=native -flto=auto -w -DLIBUS_NO_SSL \
        -I "$source/src" -I "$source/uSockets/src" "$here/uwebsockets.cpp" "$objects"/*.o -lz \
        -o "$target/uwebsockets"
    if [[ ${UWEBSOCKETS:-} ]]; then
        echo "$(git -C "$source" describe --tags), from a checkout"
    else
        echo "v20.58.0, from libuwebsockets-sys $(locked_version libuwebsockets-sys)"
    fi >"$target/uwebsockets.version"
}

install_ws() {
    cp "$here/package.json" "$here/ws.mjs" "$target"
    npm install --prefix "$target" --no-package-lock --no-audit --no-fund --loglevel=error
}

install_websockets() {
    python3 -m venv "$target/venv"
    "$target/venv/bin/python" -m pip install -q -r "$here/requirements.txt"
}

names=(tungstenite fastwebsockets uwebsockets ws websockets)

install() {
    local name
    mkdir -p "$target"
    for name in "${@:-${names[@]}}"; do
        case $name in
        tungstenite | fastwebsockets) install_rust "$name" ;;
        *) "install_$name" ;;
        esac
    done
}

version() {
    case $1 in
    tungstenite) echo "tokio-tungstenite $(locked_version tokio-tungstenite)" ;;
    fastwebsockets) echo "fastwebsockets $(locked_version fastwebsockets)" ;;
    uwebsockets) echo "uWebSockets $(<"$target/uwebsockets.version")" ;;
    ws) echo "npm ws $(node -p "require('$target/node_modules/ws/package.json').version")" ;;
    websockets) "$target/venv/bin/python" -c '
import importlib.metadata
print("Python websockets", importlib.metadata.version("websockets"))' ;;
    esac
}

run() {
    case $1 in
    tungstenite | fastwebsockets) exec "$target/release/$1" "${@:2}" ;;
    uwebsockets) exec "$target/uwebsockets" "${@:2}" ;;
    ws) exec node "$target/ws.mjs" "${@:2}" ;;
    websockets) exec "$target/venv/bin/python" "$here/websockets_server.py" "${@:2}" ;;
    esac
}

case ${1:-} in
names) printf '%s\n' "${names[@]}" ;;
install | version | run) "$@" ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
