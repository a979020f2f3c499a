#!/bin/sh
# Installs what a set of targets needs on a fresh Debian 12: ci/apt.sh PROGRAM:PACKAGE...
# A program that is there is left alone, so that a machine without a mirror can still run.
set -eu
missing=
for pair in "$@"; do
    program=${pair%%:*}
    [ -e "$program" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null 2>&1 ||
        missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
echo "apt-get install$missing"
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
