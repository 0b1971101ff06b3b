#!/bin/bash
# A Samba AD domain controller in a folder of its own, on a loopback address of its own (its LDAP ports cannot be moved).
#
#   samba.sh provision FOLDER ADDRESS CERT KEY CA
#   samba.sh run FOLDER                             in the foreground; LDAPS on ADDRESS:636
#
# The folder is best on a file system in memory: provisioning writes and syncs a lot.
set -eu
folder=$2 config=$2/etc/smb.conf
case $1 in
  provision)
    address=$3 cert=$4 key=$5 ca=$6
    samba-tool domain provision --targetdir="$folder" --realm=CORP.GATE.TEST --domain=CORP --server-role=dc \
      --dns-backend=NONE --host-name=dc1 --host-ip="$address" --adminpass='Passw0rd.Test' --use-rfc2307 \
      --option="interfaces=$address/8" --option="bind interfaces only=yes" \
      --option="vfs objects=dfs_samba4 acl_xattr xattr_tdb"
    install -m 600 "$cert" "$folder/tls.crt"
    install -m 600 "$key" "$folder/tls.key" # samba refuses a key that others may read
    sed -i '/^[[:space:]]*server services/d' "$config"
    sed -i "/^\[global\]/a\\
\\tserver services = ldap, cldap, kdc\\
\\tdcerpc endpoint servers =\\
\\ttls enabled = yes\\
\\ttls certfile = $folder/tls.crt\\
\\ttls keyfile = $folder/tls.key\\
\\ttls cafile = $ca\\
\\tlog level = 1" "$config"
    mkdir -p "$folder/run"
    ;;
  run) exec samba -s "$config" -i --debug-stdout -M single ;;
esac
