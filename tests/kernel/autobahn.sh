#!/usr/bin/env bash
# The Autobahn testsuite against a server whose kernel or network is bad.
#
#   tests/kernel/autobahn.sh bytes SET...    reads and writes of one byte (shim.c)
#   tests/kernel/autobahn.sh chunks SET...   reads and writes of 8 bytes
#   tests/kernel/autobahn.sh lossy SET...    a wire that loses 5 % of the packets each way; root
#   tests/kernel/autobahn.sh narrow SET...   packets of 296 bytes, receive buffers of 4 KiB; root
#
# SET is a set of cases as tests/autobahn.sh names them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

limit() {
    mkdir -p "$target"
    cc -shared -fPIC -O2 -Wall -Wextra -Werror tests/kernel/shim.c -o "$target/shim.so"
    export AUTOBAHN_UNDER="env LD_PRELOAD=$target/shim.so PUSHLOOP_SHIM=bytes=$1"
}

# 198.18.0.0/15 is set aside for tests of networks; .1 is this end and .2 the server's.
namespace=push-autobahn-$$
wire=pa$$
net=198.19.$(($$ % 256))
inside=(ip netns exec "$namespace")

remove_wire() {
    ip link delete "$wire"
    ip netns delete "$namespace"
}

lay_wire() {
    ip netns add "$namespace"
    trap remove_wire EXIT
    ip link add "$wire" type veth peer name eth0 netns "$namespace"
    ip address add "$net.253/30" dev "$wire"
    ip link set "$wire" up
    "${inside[@]}" ip address add "$net.254/30" dev eth0
    "${inside[@]}" ip link set eth0 up
    export AUTOBAHN_UNDER="${inside[*]}" AUTOBAHN_LISTEN="$net.254:0"
}

how=${1:-}
(($# > 1)) && shift || how=
case $how in
bytes) limit 1 ;;
chunks) limit 8 ;;
lossy)
    lay_wire
    "${inside[@]}" nft -f - <<'RULES'
table inet bad {
    chain input { type filter hook input priority 0; numgen random mod 100 < 5 drop; }
    chain output { type filter hook output priority 0; numgen random mod 100 < 5 drop; }
}
RULES
    ;;
narrow)
    lay_wire
    ip link set "$wire" mtu 296
    "${inside[@]}" ip link set eth0 mtu 296
    "${inside[@]}" sysctl -qw net.ipv4.tcp_rmem='4096 4096 4096'
    ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
tests/autobahn.sh "$@"
