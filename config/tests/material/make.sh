#!/bin/sh
# Certificates of the tests. They guard nothing; the keys are public. Run in this folder to make them anew.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/index"
cat > "$work/ca.cnf" <<CONF
[ca]
default_ca = it
[it]
database = $work/index
new_certs_dir = $work
rand_serial = yes
policy = any
default_md = sha256
unique_subject = no
[v2]
authorityKeyIdentifier = keyid:always
[any]
commonName = supplied
CONF
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
sign() { # name, extensions, not before, not after, authority's options
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$work/csr" 2> /dev/null
    printf '%s\n' "$2" > "$work/ext"
    openssl ca -batch -notext -config "$work/ca.cnf" -in "$work/csr" -extfile "$work/ext" -startdate "$3" -enddate "$4" \
        -out "$1.pem" $5 2> /dev/null
}
leaf() { # name, subject alternative names, not after
    key "$1.key"
    sign "$1" "subjectAltName=$2
basicConstraints=CA:FALSE
extendedKeyUsage=serverAuth" 20260101000000Z "$3" "-cert ca.pem -keyfile ca.key"
}
key ca.key
sign ca basicConstraints=critical,CA:TRUE 20260101000000Z 20560101000000Z "-selfsign -keyfile ca.key"
leaf apps 'DNS:*.example.test' 20560101000000Z
leaf expired 'DNS:*.example.test' 20260201000000Z
leaf nameless 'IP:10.0.0.1' 20560101000000Z
openssl pkey -in apps.key -aes128 -passout pass:test -out encrypted.key
crl() { openssl ca -gencrl -config "$work/ca.cnf" -cert ca.pem -keyfile ca.key -crldays 10000 -out "$@" 2> /dev/null; }
echo 01 > "$work/crlnumber"
crl version-1.crl
printf 'crlnumber = %s\n' "$work/crlnumber" | sed -i '/^\[it\]/r /dev/stdin' "$work/ca.cnf"
crl partner.crl -crlexts v2
rm ca.key
