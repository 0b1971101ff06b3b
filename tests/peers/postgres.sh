#!/bin/bash
# Puts PostgreSQL on this machine if it is missing, as root on Debian: proxy/tests/postgres starts servers of its own.
set -eu
if compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null && command -v psql setpriv > /dev/null; then exit 0; fi
# The package would make a cluster and start it.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
exec "$(dirname "$0")/../../scripts/debian-packages" postgresql postgresql-client util-linux
