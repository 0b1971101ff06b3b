#!/bin/bash
# Puts on this machine what `make bench` compares with, if it is missing: `loadtest/peers.sh quick|full`.
set -eu
missing=()
need() { # what has to be there, and the package that brings it
  if [ ! -e "$1" ] && ! command -v "$1" > /dev/null; then missing+=("$2"); fi
}
need nginx nginx-light
need openssl openssl
need taskset util-linux
if [ "${1:-full}" = full ]; then
  need sqlite3 sqlite3
  need haproxy haproxy
  need caddy caddy
  need apache2 apache2
  need /usr/lib/apache2/modules/mod_auth_openidc.so libapache2-mod-auth-openidc
fi
exec "$(dirname "$0")/../scripts/debian-packages" "${missing[@]}"
