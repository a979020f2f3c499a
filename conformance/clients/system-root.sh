#!/bin/bash
# A Debian with systemd, for system containers, where there is no mirror: the essential packages,
# systemd, D-Bus and what they need, as this machine has them installed. usage: system-root.sh OUTPUT.tar
set -euo pipefail
cd /
packages() {
    dpkg-query -W -f '${binary:Package}\t${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n' |
        awk -F '\t' '
            # Names alone: without versions, architectures and blanks.
            function bare(list) { gsub(/\([^)]*\)|:[a-z]+| /, "", list); return list }
            {
                file[$2] = $1; needs[$2] = bare($5)
                if ($3 == "yes") wanted[++last] = $2
                count = split(bare($4), names, ",")
                for (i = 1; i <= count; i++) provider[names[i]] = $2
            }
            END {
                count = split("systemd systemd-sysv dbus", names, " ")
                for (i = 1; i <= count; i++) wanted[++last] = names[i]
                for (at = 1; at <= last; at++) {
                    name = wanted[at]
                    if (!(name in file)) name = provider[name]
                    if (name == "" || seen[name]++) continue
                    print file[name]
                    count = split(needs[name], names, /[,|]/)
                    for (i = 1; i <= count; i++) wanted[++last] = names[i]
                }
            }'
}
files() {
    local package
    for package in $(packages); do cat "/var/lib/dpkg/info/$package.list"; done
    # What maintainer scripts make of it.
    printf '/%s\n' bin sbin lib lib64 etc/passwd etc/group etc/shadow etc/gshadow etc/nsswitch.conf etc/ld.so.cache etc/pam.d/common-*
}
# Through the links of a merged /usr a file would have two names. The guest leaves documentation out.
files | sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,; s,^/,,' | grep -v -E '^usr/share/(locale|doc|man|info|zoneinfo)/|^\.?$' | sort -u |
    while read -r path; do [ ! -e "$path" ] && [ ! -L "$path" ] || printf '%s\0' "$path"; done |
    tar --null --no-recursion --numeric-owner --files-from - -cf "$1"
# Without one systemd takes it for a first boot and asks the console for a time zone.
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
mkdir "$empty/etc"
: >"$empty/etc/machine-id"
tar -C "$empty" --no-recursion --owner=0 --group=0 -rf "$1" etc/machine-id
