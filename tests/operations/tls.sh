#!/usr/bin/env bash
# What openssl's client makes of the server's TLS: versions, ciphers, protocols, resumption, and how it ends.
#
#   tests/operations/tls.sh SERVER
#
# SERVER is the pushloop binary. Prints `ok NAME` or `FAIL NAME` for each check. First what is to be
# refused is asked of a server that refuses nothing of it, openssl's own: a check that cannot fail proves nothing.
set -uo pipefail
server=$(realpath "$1")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}"; wait; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 2
failed=0

# verdict NAME STATUS
verdict() {
    if (($2 == 0)); then
        echo "ok $1"
    else
        failed=1
        echo "FAIL $1"
        tail -n 40 log
    fi
}

# ask ADDRESS TEXT [ARGUMENT]...: what the client says of a connection on which it sends this.
ask() {
    printf %b "$2" | timeout 10 openssl s_client -connect "$1" -servername localhost \
        -CAfile authority.pem -verify_return_error "${@:3}" >log 2>&1
}

# get ADDRESS [ARGUMENT]...: the same for a request that is the last of its connection.
get() {
    ask "$1" "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" -ign_eof "${@:2}"
}

says() {
    grep -Eq "$1" log
}

answers() {
    says '^HTTP/1.1 200' && says 'Verify return code: 0'
}

speaks() {
    get "$1" "$2" && answers && says "^New, $3, Cipher is (TLS_|ECDHE-).*(GCM|CHACHA20)"
}

chooses() {
    get "$1" "${@:3}" && answers && says "$2"
}

# A connection before left a session.
resumes() {
    get "$1" "$2" -sess_out session && answers && get "$1" "$2" -sess_in session && answers && says "^Reused, $3"
}

refuses_version() {
    ! get "$1" "$2" -cipher ALL:@SECLEVEL=0 && says 'alert (protocol version|handshake failure)'
}

# All ciphers of TLS 1.2 that openssl has, but ECDHE with AES-GCM or ChaCha20.
refuses_cipher() {
    local cipher
    for cipher in $(openssl ciphers -s -tls1_2 "ALL:aNULL:eNULL:!AESGCM:!CHACHA20:@SECLEVEL=0" | tr : ' ') \
        $(openssl ciphers -s -tls1_2 'kRSA+AESGCM:DHE+AESGCM:@SECLEVEL=0' | tr : ' '); do
        [[ $cipher == TLS_* ]] || { ! get "$1" -tls1_2 -cipher "$cipher:@SECLEVEL=0" && says 'alert handshake failure'; } ||
            return
    done
}

refuses_protocol() {
    ! get "$1" -alpn h2 && says 'alert no application protocol'
}

# The client takes R for a command, but not with `-ign_eof`: its input is not to end.
refuses_to_begin_anew() {
    printf 'R\n' >&4
    timeout 3 openssl s_client -connect "$1" -tls1_2 <&4 >log 2>&1
    local status=$?
    says '^RENEGOTIATING' || { echo "tls.sh: the client does not ask for it" && exit 2; }
    # Where it is granted, the client goes on until it is ended.
    ((status == 1)) && says 'no renegotiation'
}

# openssl 3 calls an end without it unexpected.
tells_that_it_ends() {
    get "$1" "$2" -msg && answers && says '^<<< .*Alert.*close_notify' && ! says 'unexpected eof'
}

tells_who_speaks_plainly() {
    exec 3<>"/dev/tcp/${1/://}" && printf 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3 &&
        timeout 10 cat <&3 >log && says '^HTTP/1.1 400' && says TLS
}

refusals=(
    "refuses_version -tls1"
    "refuses_version -tls1_1"
    refuses_cipher
    refuses_protocol
    refuses_to_begin_anew
)

mkfifo commands && exec 4<>commands
"$here/certificates.sh" . 2>log || { cat log && exit 2; }

# Sets $lax.
start_lax() {
    local rsa=(-dcert rsa.pem -dkey rsa-key.pem)
    openssl req -x509 -newkey rsa:2048 -noenc -subj /CN=localhost -CA authority.pem -CAkey authority-key.pem \
        -addext subjectAltName=DNS:localhost -out rsa.pem -keyout rsa-key.pem 2>log
    openssl s_server -accept 127.0.0.1:0 -cert chain.pem -key key.pem "${rsa[@]}" -www -cipher ALL:@SECLEVEL=0 \
        -alpn h2,http/1.1 -client_renegotiation >lax.out 2>&1 &
    started+=($!)
    listens lax.out 'ACCEPT [^ ]*'
    lax=$address
}

# listens FILE PATTERN: sets $address, which ends what the pattern finds.
listens() {
    for _ in {1..100}; do
        address=$(grep -Eosm1 "$2" "$1" | grep -Eo '[^ /]+$') && return
        sleep 0.1
    done
    cat "$1"
    exit 2
}

start_lax
for refusal in "${refusals[@]}"; do
    read -ra words <<<"$refusal"
    ! "${words[0]}" "$lax" "${words[@]:1}"
    verdict "lax_is_seen: $refusal" $?
done

"$server" --listen-tls 127.0.0.1:0 --tls-cert chain.pem --tls-key key.pem >server.out 2>&1 &
started+=($!)
listens server.out 'https://127.0.0.1:[0-9]+'
for check in "speaks -tls1_2 TLSv1.2" "speaks -tls1_3 TLSv1.3" "resumes -tls1_2 TLSv1.2" "resumes -tls1_3 TLSv1.3" \
    "tells_that_it_ends -tls1_2" "tells_that_it_ends -tls1_3" "chooses ^ALPN.*http/1.1 -alpn h2,http/1.1" \
    "chooses ^No.ALPN" "chooses Max.Early.Data:.0 -tls1_3" \
    "chooses Extended.master.secret:.yes -tls1_2" "chooses ^Compression:.NONE -tls1_2" \
    tells_who_speaks_plainly "${refusals[@]}"; do
    read -ra words <<<"$check"
    "${words[0]}" "$address" "${words[@]:1}"
    verdict "${check//^/}" $?
done
exit "$failed"
