#!/bin/sh
# Makes the files here, once, with OpenSSL 3: requests that are refused, and authorities with RSA keys. The keys are
# for tests only.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
request() { name=$1; shift; openssl req -new -nodes -subj /CN=x -keyout "$work/k" -out "$name.csr" "$@"; }
request rsa-2048 -newkey rsa:2048
request rsa-1024 -newkey rsa:1024
request rsa-exponent-3 -newkey rsa:2048 -pkeyopt rsa_keygen_pubexp:3
request p521 -newkey ec -pkeyopt ec_paramgen_curve:P-521
request secp256k1 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1
request p384-sha256 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha256
request sha1 -newkey rsa:2048 -sha1
authority() {
  name=$1; bits=$2; signer=$3
  printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' > "$work/ext"
  openssl req -new -nodes -newkey "rsa:$bits" -subj "/O=Example/CN=$name" -keyout "$name.key" -out "$work/r"
  openssl x509 -req -in "$work/r" -CA "$signer.pem" -CAkey "$work/root.key" -days 36500 -extfile "$work/ext" \
    -out "$name.pem"
}
openssl req -x509 -nodes -newkey rsa:3072 -subj "/O=Example/CN=Offline Root" -days 36500 -keyout "$work/root.key" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out rsa-root.pem
authority rsa-issuing 3072 rsa-root
authority rsa-weak 2048 rsa-root
