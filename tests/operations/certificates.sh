#!/usr/bin/env bash
# An authority made on the spot, and what it certifies, for the checks that speak TLS.
#
#   tests/operations/certificates.sh FOLDER
#
# leaves authority.pem there, which clients trust, and chain.pem and key.pem, with which a server is
# localhost and 127.0.0.1. Nothing that is there is replaced.
set -euo pipefail
cd "$1"
[[ ! -e chain.pem ]] || exit 0

# request OUT KEY [ARGUMENT]...
request() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 -out "$1" -keyout "$2" "${@:3}"
}

request authority.pem authority-key.pem -subj "/CN=tests of pushloop $(openssl rand -hex 8)" \
    -addext keyUsage=critical,keyCertSign -addext basicConstraints=critical,CA:TRUE,pathlen:0
request chain.pem key.pem -subj /CN=localhost -CA authority.pem -CAkey authority-key.pem \
    -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -addext extendedKeyUsage=serverAuth
