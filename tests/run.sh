#!/usr/bin/env bash
# The one command that a change must pass: installs the tools that are missing, runs every step,
# goes on after one that fails, and ends with the line `N passed, N failed`.
#
#   tests/run.sh            what each change must pass
#   tests/run.sh --full     and the long campaigns; FULL=1 in the environment says the same
#
# It needs the Rust toolchain and the network; the rest comes from apt-get (as root, or with a
# sudo that asks nothing), npm and PyPI. What it builds and fetches is under target/, where the
# whole output of each step is kept as well (target/run/).

set -u
full=${FULL:-}
# What is a campaign says so for itself: all other steps are what each change must pass.
unset FULL
for argument; do
    case $argument in
    --full) full=1 ;;
    *) echo "usage: tests/run.sh [--full]" >&2 && exit 2 ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export CARGO_TERM_COLOR=never DEBIAN_FRONTEND=noninteractive
# What makes the next build of a change faster makes this one slower. A panic says where it was without debug information.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export target=${CARGO_TARGET_DIR:-target}
# Foreign programs have to do with ours as the tests build them, with assertions on; in campaigns, as they are shipped.
export PROGRAMS=$target/debug
[[ ! $full ]] || PROGRAMS=$target/release

logs=$target/run
mkdir -p "$logs"
rm -f "$logs"/*.log
passed=0 failed=0 ignored=0 computed=0
# What failed is said once more at the end, where it is found: of what the step printed, the last of these
# lines, or else the last ones.
failures=
failure='^FAIL |^test .* FAILED$|has been running for over|^thread .* panicked at|^error|^ended after|tests were run, and not'

# step NAME SECONDS COMMAND [ARGUMENT]...
# One line when it passes, with the seconds that it took and those of a processor, and what it printed
# when it does not. A step counts for one, and so does each test that it reports: `test result:` lines of
# cargo, `ok NAME` and `FAIL NAME` lines of scripts. $least is how many tests it has to report; $ignored is
# set to how many it left out.
step() {
    local name=$1 seconds=$2 began=$SECONDS log verdict=ok status ok bad used TIMEFORMAT='%0U+%0S' tests=
    shift 2
    log="$logs/${name//[^[:alnum:]]/-}.log"
    used=$({ time timeout --kill-after=10 "$seconds" bash -c '"$@"' step "$@" >"$log" 2>&1 </dev/null; } 2>&1)
    status=$?
    # Before that, the shell may say what was killed.
    used=$((${used##*$'\n'}))
    computed=$((computed + used))
    read -r ok bad ignored < <(awk '
        /^test result: / { ok += $4; bad += $6; ignored += $8 }
        /^ok /           { ok++ }
        /^FAIL /         { bad++ }
        END              { print ok + 0, bad + 0, ignored + 0 }' "$log")
    if ((status == 124 || status == 137)); then
        echo "ended after $seconds seconds" >>"$log"
    elif ((status == 0 && ok + bad < ${least:-0})); then
        echo "$((ok + bad)) tests were run, and not at least $least" >>"$log"
        status=1
    fi
    ((status == 0 && bad == 0)) || verdict=FAILED
    ((ok + bad == 0)) || tests=" ($ok of $((ok + bad)) tests)"
    printf '%-6s %4d s %5d s  %s%s\n' "$verdict" $((SECONDS - began)) "$used" "$name" "$tests"
    if [[ $verdict == ok ]]; then
        passed=$((passed + ok + 1))
    else
        passed=$((passed + ok)) failed=$((failed + bad + 1))
        failures+=$'\n'"FAILED $name"$'\n'$({ grep -E "$failure" "$log" || tail -n 5 "$log"; } | tail -n 20 | sed 's/^/       | /')
        tail -n 500 "$log" | sed 's/^/       | /'
    fi
}

# A step whose tests are the point of it: none reported is a failure.
suite() {
    local least=1
    step "$@"
}

# A suite that takes too long for each change: it is run with --full, and else named as left out.
campaign() {
    if [[ $full ]]; then
        suite "$@"
    else
        printf '%-6s                 %s\n' - "$1 (left out: tests/run.sh --full)"
    fi
}

# lane NAME FUNCTION: the steps of the function beside those that follow, until `join NAME` in the same shell,
# which prints and counts them. For steps that wait more than they compute, and for builds in another directory.
declare -A lanes
lane() {
    rm -f "$logs/$1.counts" "$logs/$1.failures"
    {
        passed=0 failed=0 computed=0 failures=
        "$2"
        echo "$passed $failed $computed" >"$logs/$1.counts"
        printf %s "$failures" >"$logs/$1.failures"
    } >"$logs/$1.lane" 2>&1 &
    lanes[$1]=$!
}

join() {
    local ok=0 bad=1 used=0
    wait "${lanes[$1]}"
    cat "$logs/$1.lane"
    # A lane that did not come to its end has failed.
    [[ ! -e $logs/$1.counts ]] || read -r ok bad used <"$logs/$1.counts"
    passed=$((passed + ok)) failed=$((failed + bad)) computed=$((computed + used))
    failures+=$(cat "$logs/$1.failures" || echo "FAILED the lane of $1")
}

# Steps of this shell from now on compute when others leave a processor idle: these have peers that wait.
yields() {
    renice -n $(($(nice) + 5)) -p "$BASHPID" >/dev/null
}

# need COMMAND PACKAGE [PACKAGE]...: the command is there, or apt-get brings it.
need() {
    command -v "$1" && return
    install_packages "${@:2}"
    command -v "$1"
}

install_packages() {
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n --preserve-env=DEBIAN_FRONTEND)
    "${as_root[@]}" apt-get -q update
    "${as_root[@]}" apt-get -qy install --no-install-recommends "$@"
}

rust_components() {
    cargo fmt --version || rustup component add rustfmt
    cargo clippy --version || rustup component add clippy
    cargo fmt --version && cargo clippy --version
}

# One folder of modules for the scripts of all test folders, in the versions that each one pins.
node_modules() {
    local packages
    mapfile -t packages < <(node -p '["clients", "browser"]
        .map((folder) => require("./tests/" + folder + "/package.json"))
        .flatMap((wants) => Object.entries({ ...wants.dependencies, ...wants.devDependencies }))
        .map((entry) => entry.join("@")).join("\n")')
    ((${#packages[@]})) || return
    mkdir -p "$target/npm"
    npm install --prefix "$target/npm" --no-save --no-package-lock --no-audit --no-fund "${packages[@]}" &&
        ln -sfn "$target/npm/node_modules" node_modules
}

python_packages() {
    python3 -c 'import ensurepip, venv' || install_packages python3-venv
    python3 -m venv "$target/venv" &&
        "$target/venv/bin/python" -m pip install -q -r tests/clients/requirements.txt
}

# The clients of tests/clients/foreign/ that Debian has.
client_libraries() {
    install_packages libnetty-java libmojolicious-perl gir1.2-soup-3.0 python3-gi libwebsockets-dev
}

# built COMPILER [ARGUMENT]... FILE: a program of tests/clients/foreign/ as $target/foreign/NAME of the file.
built() {
    local name=${*: -1}
    mkdir -p "$target/foreign"
    "${@:1:$#-1}" -o "$target/foreign/${name%.*}" "tests/clients/foreign/$name"
}

# Those that take a compiler of their own, or seconds of it.
compiled_clients() {
    install_packages g++ zlib1g-dev libboost-dev libwebsocketpp-dev golang-go golang-github-gorilla-websocket-dev
    # Debian's sources of gorilla, and no module from elsewhere.
    GOCACHE=$(realpath "$target")/foreign/go
    export GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE
    built go build gorilla.go &&
        built g++ -std=c++17 -pthread beast.cpp &&
        built g++ -std=c++17 -pthread -Wl,--no-as-needed -lz websocketpp.cpp
}

compiler_and_zlib() {
    command -v g++ && [[ -e /usr/include/zlib.h && -e /usr/include/openssl/ssl.h ]] ||
        install_packages g++ zlib1g-dev libssl-dev
}

# A thousand peers at once are a thousand descriptors, on either side.
every_position() {
    ulimit -n 4096 &&
        FULL=1 cargo test --release --all-features --test kernel -- --nocapture
}

# 10^8 messages, and 10^6 connections that end in every way.
soak() {
    cargo run --release --manifest-path benches/compare/Cargo.toml --target-dir "$target/compare" --bin soak &&
        echo "ok soak"
}

# zlib-rs has unsafe code. A leak check needs ptrace, which strace has. The sanitizer makes system
# calls of its own, and does not bear that it is given no memory.
sanitized() {
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0
    local how=(--target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir "$target/asan" --all-features)
    cargo build "${how[@]}" --bins --examples &&
        cargo test "${how[@]}" --lib --bins --tests --no-fail-fast -- \
            --skip faults::any_call --skip a_life_of_a_connection
}

# With `--example` among what is tested, cargo would build its tests and not the program that `it` starts.
default_features() {
    cargo build --example echo &&
        cargo test --no-fail-fast --lib --test it
}

export -f client_libraries built compiled_clients
export -f default_features sanitized soak compiler_and_zlib every_position need install_packages rust_components node_modules python_packages

step "tool: cc" 300 need cc gcc libc6-dev
step "tool: rustfmt, clippy" 300 rust_components
# The tests of the comparison are in Python as well.
step "tool: python" 600 need python3 python3 python3-venv

tools() {
    step "tool: node" 600 need node nodejs npm
    step "tool: npm" 600 need npm npm
    step "tool: chromium" 900 need chromium chromium
    step "tool: firefox" 900 need firefox-esr firefox-esr
    step "tool: java" 900 need javac default-jdk-headless
    step "tool: strace" 300 need strace strace
    step "tool: curl" 300 need curl curl
    step "tool: jq" 300 need jq jq
    step "tool: openssl" 300 need openssl openssl
    step "tool: prlimit" 300 need prlimit util-linux
    step "tool: ip, tc" 300 need tc iproute2
    step "tool: nft" 300 need nft nftables
    step "tool: sysctl" 300 need sysctl procps
    step "tool: nginx" 300 need nginx nginx-light
    step "tool: haproxy" 300 need haproxy haproxy
    step "tool: caddy" 300 need caddy caddy
    step "tool: redis" 300 need redis-server redis-server
    step "tool: redis sentinel" 300 need redis-sentinel redis-sentinel
    step "tool: certutil" 300 need certutil libnss3-tools
    step "tool: systemd-analyze" 300 need systemd-analyze systemd
    step "packages: clients" 600 client_libraries
    [[ ! $full ]] || step "tool: g++, zlib" 600 compiler_and_zlib
    [[ ! $full ]] || step "clients, compiled" 900 compiled_clients
    step "packages: npm" 300 node_modules
    step "packages: PyPI" 300 python_packages
}

# lints NAME FOLDER TARGET: a package that is none of the crate's, in a target directory of its own.
lints() {
    step "fmt, $1" 60 cargo fmt --manifest-path "$2/Cargo.toml" --check -- --color never
    step "clippy, $1" 900 cargo clippy --manifest-path "$2/Cargo.toml" --target-dir "$target/$3" --all-targets -- -D warnings
}

# The packages, the model and the fuzzers are built beside the crate, in target directories of their own.
apart() {
    yields
    # What is private in the crate is there with a cfg, also for the benchmarks of it.
    RUSTFLAGS="--cfg internals" lints micro benches/micro micro
    # To be checked and to be run are two builds: each package has one of them in each run.
    [[ ! $full ]] || step "micro, once" 600 env RUSTFLAGS="--cfg internals" \
        cargo test --manifest-path benches/micro/Cargo.toml --target-dir "$target/micro" --benches
    [[ ! $full ]] || lints axum examples/axum axum
    suite "test, axum" 900 cargo test --manifest-path examples/axum/Cargo.toml --target-dir "$target/axum" \
        --no-fail-fast -- --show-output
    # Flags from the environment would take the place of `--cfg loom`.
    suite "model" 1800 env -u RUSTFLAGS cargo model
    # The programs of the comparison.
    lints benchmarks benches/compare compare
    suite "test, benchmarks" 1200 cargo test --manifest-path benches/compare/Cargo.toml --target-dir "$target/compare" \
        --no-fail-fast -- --show-output
    suite "fuzz" "$((full ? 6000 : 1500))" tests/fuzz.sh "$((full ? 600 : 3))"
}

peer=("$PROGRAMS/examples/client_peer" 127.0.0.1:0)
python=$target/venv/bin/python

# What a browser, chromium or firefox, makes of the server and of the examples.
browser() {
    local mode app how
    # With context takeover, compressed messages refer back to earlier ones.
    for mode in "" takeover; do
        suite "browser: $1${mode:+, $mode}" 180 node tests/browser/websocket.mjs "$1" "${peer[@]}" $mode
    done
    suite "browser: origins, $1" 180 node tests/browser/origins.mjs "$1" "$PROGRAMS/pushloop"
    suite "browser: resume, $1" 180 node tests/browser/resume.mjs "$1" "$PROGRAMS/pushloop"
    suite "browser: tokens, $1" 180 node tests/browser/tokens.mjs "$1" "$PROGRAMS/pushloop"
    suite "browser: clients, $1" 180 node tests/browser/clients.mjs "$1" "$PROGRAMS/pushloop"
    suite "browser: TLS, $1" 180 node tests/browser/tls.mjs "$1" "$PROGRAMS/pushloop"
    suite "browser: snippet, $1" 300 \
        node tests/browser/snippet.mjs --server "$PROGRAMS/pushloop" --browser "$1"
    # Not both browsers have the feed at once: it takes what a page gets of a processor.
    local apps=(feed chat editor game)
    [[ $1 == firefox ]] || apps=(chat editor game feed)
    for app in "${apps[@]}"; do
        # Of the applications, one is enough to see that the other browser has what their pages use.
        how=suite
        [[ $1 == chromium || $app == feed ]] || how=campaign
        "$how" "browser: $app, $1" 300 \
            node tests/browser/examples.mjs "$app" "$PROGRAMS/examples/$app" "$1"
    done
}

clients() {
    local mode
    for mode in "" takeover; do
        suite "client: npm ws${mode:+, $mode}" 180 node tests/clients/ws.mjs "${peer[@]}" $mode
        suite "client: Python websockets${mode:+, $mode}" 180 "$python" tests/clients/clients.py websockets "${peer[@]}" $mode
        suite "client: Python aiohttp${mode:+, $mode}" 180 "$python" tests/clients/clients.py aiohttp "${peer[@]}" $mode
    done
    suite "client: Pusher" 300 node tests/clients/pusher.mjs "$PROGRAMS/pushloop"
    suite "client: Pusher, Python" 180 "$python" tests/clients/pusher_backend.py "$PROGRAMS/pushloop"
    suite "client: npm centrifuge" 300 node tests/clients/centrifuge.mjs "$PROGRAMS/pushloop"
    campaign "client: npm centrifuge, at length" 300 env FULL=1 \
        node tests/clients/centrifuge.mjs "$PROGRAMS/pushloop"
    suite "client: npm at two servers" 300 node tests/clients/nodes.mjs "$PROGRAMS/pushloop"
    suite "client: Python centrifuge, cent" 180 "$python" tests/clients/centrifuge.py "$PROGRAMS/pushloop"
    suite "client: Java" 180 java tests/clients/Client.java "${peer[@]}"
    foreign suite Tornado "$python" tornado_client.py
    foreign suite websocket-client "$python" websocket_client.py
    foreign suite libsoup /usr/bin/python3 soup.py
    foreign suite undici node undici.mjs
    foreign suite Mojolicious perl mojo.pl
    foreign suite Netty java -cp "$(printf %s: /usr/share/java/netty-*.Final.jar)" Netty.java
    step "client: libwebsockets, built" 60 built cc -Wall -Wl,--no-as-needed -lwebsockets lws.c
    foreign suite libwebsockets "" lws
    foreign campaign gorilla "" gorilla
    foreign campaign Boost.Beast "" beast
    foreign campaign websocketpp "" websocketpp
}

# foreign suite|campaign NAME COMMAND [ARGUMENT]... FILE: a client of tests/clients/foreign/, or without a command one
# that was built from it.
foreign() {
    local client="${*:3:$#-3} tests/clients/foreign/${*: -1}"
    [[ $3 ]] || client=$target/foreign/$4
    "$1" "client: $2" 300 python3 tests/clients/foreign.py "$client" "${peer[@]}"
}

others() {
    browser firefox
    local run=("$python" tests/proxies/run.py "$PROGRAMS/pushloop" "$PROGRAMS/examples/client_peer")
    suite "proxies" 600 "${run[@]}"
    suite "proxies: floods" 120 "$python" tests/proxies/floods.py "$PROGRAMS/pushloop"
    campaign "proxies: a silent WebSocket and a silent stream" 300 "${run[@]}" idle
    clients
}

broker() {
    suite "broker" 900 "$python" tests/broker/run.py "$PROGRAMS/pushloop"
    campaign "broker, at length" 3600 env FULL=1 "$python" tests/broker/run.py "$PROGRAMS/pushloop"
}

# Foreign programs and ours: they wait more than they compute.
peers() {
    [[ ! $full ]] || step "build, release" 900 cargo build --release --all-features --bins --examples
    lane others others
    lane broker broker
    browser chromium
    suite "strictness" 300 tests/strictness.sh
    suite "package" 60 tests/operations/package.sh "$PROGRAMS/pushloop"
    campaign "package: Debian" 1200 tests/operations/package.sh "$PROGRAMS/pushloop" deb
    suite "metrics" 60 "$python" tests/operations/metrics.py "$PROGRAMS/pushloop"
    suite "TLS, by openssl" 120 tests/operations/tls.sh "$PROGRAMS/pushloop"
    suite "autobahn" 900 tests/autobahn.sh core subset
    suite "autobahn: one byte at a time" 300 tests/kernel/autobahn.sh bytes rules
    suite "autobahn: TLS" 300 tests/autobahn.sh wss subset
    join others
    join broker
}

# One waits for the network; the other has work for a processor while a build of the crate has none.
lane tools tools
lane apart apart

step "fmt" 60 cargo fmt --all --check -- --color never
# The programs and all tests.
step "build" 900 cargo test --all-features --no-run
join tools
lane peers peers
yields
step "clippy, all features" 900 cargo clippy --all-targets --all-features -- -D warnings
step "clippy, no features" 900 cargo clippy --all-targets --no-default-features -- -D warnings
# The cfg for the crate alone: what it depends on is there already.
step "clippy, internals" 300 cargo clippy --lib -- -D warnings --cfg internals
step "doc" 600 env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --all-features

# All tests have all features, below; that they are compiled without was seen above.
campaign "test, default features" 1200 default_features
step "benchmarks, each once" 600 cargo test --all-features --bench million --bench lag
# Most of these wait for a socket, a timer or a process, too.
suite "test, all features" 1800 env RUST_TEST_THREADS=$((2 * $(nproc))) \
    cargo test --no-fail-fast --all-features -- --show-output
# Tests that would take minutes in a debug build are ignored there; every one of them runs here. Only these crates have
# some: if another had, fewer would run than were ignored. They need few features, those that Autobahn's server is
# built with as well.
exhaustive=(cargo test --release --features deflate,tls --no-fail-fast --test sim --test exhaustive)
left=$ignored
# Autobahn waits for the directory as long as this builds.
step "build, exhaustive" 900 "${exhaustive[@]}" --no-run
least=$left step "test, exhaustive" 2400 "${exhaustive[@]}" -- --ignored --show-output
join peers
join apart

campaign "autobahn: TLS, core" 1800 tests/autobahn.sh wss core
campaign "strictness: peers" 1800 tests/strictness.sh --peers
campaign "autobahn: all" 3600 tests/autobahn.sh all
campaign "autobahn: 8 bytes at a time" 3600 tests/kernel/autobahn.sh chunks load
campaign "autobahn: lossy wire" 3600 tests/kernel/autobahn.sh lossy rules
campaign "autobahn: narrow wire" 3600 tests/kernel/autobahn.sh narrow core
campaign "kernel: every position" 3600 every_position
campaign "test, exhaustive: at length" 3600 env FULL=1 \
    cargo test --release --all-features --test exhaustive -- --ignored --show-output
campaign "sim, at length" 3600 env FULL=1 \
    cargo test --release --all-features --test sim -- --ignored --show-output
campaign "feed: 500 pages" 900 env FULL=1 \
    cargo test --release --all-features --test apps feed::one_that_reads_nothing -- --show-output
campaign "overload: thousands of peers" 3600 env FULL=1 \
    cargo test --release --all-features --test overload -- --nocapture --test-threads=1
campaign "panics" 1800 env FULL=1 cargo test --release --all-features --test it panics:: -- --show-output
campaign "soak" 3600 soak
campaign "address sanitizer" 3600 sanitized
campaign "mutation testing" 14400 tests/mutants.sh

step "figures" 60 tests/figures.sh
cat "$logs/figures.log"

[[ ! $failures ]] || echo "$failures"
echo "$SECONDS s, and $computed s of $(nproc) processors"
echo "$passed passed, $failed failed"
((failed == 0))
