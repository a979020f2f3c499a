#!/bin/sh
# Measures everybody side by side in one private host:
#   bench/run.sh runtimes|plugins ROUNDS OUTPUT.json [CASE...]
# or writes what of the binaries in $OURS usual commands execute:
#   OURS=DIRECTORY bench/run.sh hot-text 1 DIRECTORY
# crun refuses v1 cgroups beside v2, so that hierarchy is out of sight for all of them. States and
# bundles are on the private /run, a tmpfs. Nothing is left, also when this is interrupted.
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
what=$1 rounds=$2 output=$3
shift 3
cd "$repository"
prefix=dvt-bench$$
# Error values of Rust would take a backtrace.
unset RUST_BACKTRACE RUST_LIB_BACKTRACE

# What an interrupted case left: its processes are those of its cgroups.
sweep() {
    trap '' INT TERM
    [ -z "${running:-}" ] || { kill "$running" 2>/dev/null && wait "$running" || :; }
    groups=$(find /sys/fs/cgroup -type d -name "$prefix-*" 2>/dev/null || :)
    [ -n "$groups" ] || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        for group in $groups; do
            # shellcheck disable=SC2046 # a list of numbers
            [ ! -d "$group" ] || { kill -9 $(cat "$group/cgroup.procs") || rmdir "$group"; } 2>/dev/null || :
        done
        groups=$(find /sys/fs/cgroup -type d -name "$prefix-*" 2>/dev/null || :)
        [ -n "$groups" ] || return 0
        sleep 0.2
    done
    echo "bench: left: $groups" >&2
}
trap sweep EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p out "$(dirname "$output")"
for tool in floor peak nothing; do
    gcc -O2 -static -Wall -Wextra -o out/$tool bench/$tool.c
done
cargo build --release --quiet --locked -p bench
bench=target/$(rustc -vV | sed -n 's/^host: //p')/release/bench
# In the background, so that a signal is not kept until it ends.
unshare -m -n -i --propagation private sh -ec '
    ip link set lo up
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    mkdir /run/netns /run/lock
    if mountpoint -q /sys/fs/cgroup/unified; then
        umount /sys/fs/cgroup/unified
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup/unified
    fi
    exec "$@"' sh "$bench" "$what" "${OURS:-out}" "$rounds" "$output" "$prefix" "$@" &
running=$!
wait "$running" && status=0 || status=$?
running=
exit "$status"
