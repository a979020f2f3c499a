#!/usr/bin/env bash
# usage: burst.sh RUNTIME [TIMES [AT-ONCE]]
# Runs `true` in a container TIMES times in a row (1000), then AT-ONCE at a time (64, three
# rounds), and tells every failure, everything that took too long, and everything that is left:
# state directories, cgroups, processes. Needs root and busybox-static.
set -u
runtime=$(realpath "${1:?usage: burst.sh RUNTIME [TIMES [AT-ONCE]]}")
times=${2:-1000}
at_once=${3:-64}
patience=60
work=$(mktemp -d "${TMPDIR:-/tmp}/burst.XXXXXX")
mark=burst-$$
failures=0

complain() { printf 'burst: %s\n' "$*" >&2; failures=$((failures + 1)); }

bundle() { # ID: a bundle whose cgroup is its own
    mkdir -p "$work/$1/rootfs/bin" "$work/$1/rootfs/proc" "$work/$1/rootfs/dev" "$work/$1/rootfs/sys"
    ln "$work/busybox" "$work/$1/rootfs/bin/busybox"
    ln -s busybox "$work/$1/rootfs/bin/true"
    (cd "$work/$1" && "$runtime" spec) || complain "spec of $1"
    sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"true"/' \
        -e "s|\"linux\": {|\"linux\": { \"cgroupsPath\": \"/$mark/$1\",|" "$work/$1/config.json"
}

once() { # ID
    local said status
    said=$(timeout "$patience" "$runtime" --root "$work/state" run --bundle "$work/$1" "$1" 2>&1 </dev/null)
    status=$?
    case $status in
    0) [ -z "$said" ] || { printf 'said: %s\n' "$said"; return 1; } ;;
    124) printf 'hung for %s s\n' "$patience"; return 1 ;;
    *) printf 'status %s: %s\n' "$status" "$said"; return 1 ;;
    esac
}

left() { # WHERE it is looked for
    local state groups processes
    state=$(ls "$work/state" 2>/dev/null)
    [ -z "$state" ] || complain "$1: state directories are left: $state"
    groups=$(find /sys/fs/cgroup -mindepth 2 -type d -path "*/$mark/*" 2>/dev/null)
    [ -z "$groups" ] || complain "$1: cgroups are left: $groups"
    processes=$(grep -lsz -e "$work/[s]tate" /proc/[0-9]*/cmdline | grep -v "/$$/")
    [ -z "$processes" ] || complain "$1: processes are left: $processes"
}

cp /bin/busybox "$work/busybox"
bundle row
before=$(date +%s%N)
for ((i = 0; i < times; i++)); do
    said=$(once row) || complain "run $i in a row: $said"
done
printf 'burst: %s in a row: %s us each\n' "$times" $((($(date +%s%N) - before) / 1000 / times))
left "in a row"

for ((i = 0; i < at_once; i++)); do bundle "c$i"; done
for round in 1 2 3; do
    before=$(date +%s%N)
    for ((i = 0; i < at_once; i++)); do
        once "c$i" >"$work/said.$i" || : >"$work/failed.$i" &
    done
    wait
    for ((i = 0; i < at_once; i++)); do
        [ ! -e "$work/failed.$i" ] || complain "c$i of round $round: $(cat "$work/said.$i")"
    done
    rm -f "$work"/failed.*
    printf 'burst: %s at once: %s ms\n' "$at_once" $((($(date +%s%N) - before) / 1000000))
    left "at once, round $round"
done

find /sys/fs/cgroup -depth -type d -name "$mark" -exec rmdir {} + 2>/dev/null
rm -rf "$work"
printf 'burst: %s failures\n' "$failures"
[ "$failures" = 0 ]
