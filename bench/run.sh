#!/bin/sh
# Measures everybody side by side in one private host:
#   bench/run.sh runtimes|plugins [ROUNDS] [OUTPUT.json]
# crun refuses v1 cgroups beside v2, so that hierarchy is out of sight for all of them.
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
what=$1 rounds=${2:-25} output=${3:-$repository/out/bench-$1.json}
cd "$repository"
mkdir -p out
floor=
if [ "$what" = runtimes ]; then
    floor=out/floor
    gcc -O2 -static -Wall -Wextra -o $floor bench/floor.c
fi
cargo build --release --quiet --locked -p bench
bench=target/$(rustc -vV | sed -n 's/^host: //p')/release/bench
unshare -m -n -i --propagation private sh -ec '
    ip link set lo up
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    if mountpoint -q /sys/fs/cgroup/unified; then
        umount /sys/fs/cgroup/unified
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup/unified
    fi
    exec "$@"' sh "$bench" "$what" out "$rounds" "$output" $floor
