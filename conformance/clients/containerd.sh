#!/bin/sh
# Debian's containerd with a runtime and a directory of plugins, unchanged:
#   conformance/clients/containerd.sh RUNTIME CNI_PATH DAVIT_CNI
# What Go's libcni attaches davit-cni detaches, by the file that Go left in the cache, and the other
# way round.
# It gets its own socket, root and state in a private host; nothing of the machine's is touched.
set -eu
[ $# -eq 3 ] || { echo "usage: containerd.sh RUNTIME CNI_PATH DAVIT_CNI" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'containerd.sh: needs root' >&2; exit 1; }
for needed in containerd ctr jq "$1" "$3"; do
    command -v "$needed" >/dev/null || { echo "containerd.sh: $needed is missing" >&2; exit 1; }
done
repository=$(cd "$(dirname "$0")/../.." && pwd)

if [ -z "${CTR_DIR:-}" ]; then
    CTR_DIR=$(mktemp -d /tmp/davit-ctr.XXXXXX)
    CTR_ID=dvt-ctr$$ # also the name of the cgroups, which are the whole machine's
    export CTR_DIR CTR_ID
    unshare -m -n -i -p --fork --kill-child --mount-proc --propagation private sh "$0" "$@" &
    inner=$!
    # Ctrl-C and the like: everything inside dies with unshare, and the rest is removed here.
    trap 'kill -KILL "$inner" 2>/dev/null || true' INT TERM HUP
    status=0
    wait "$inner" || status=$?
    # A signal ends the first wait early.
    wait "$inner" 2>/dev/null || true
    # The namespace's parent cgroups are ours to remove: runtimes delete only the container's.
    find /sys/fs/cgroup -depth -type d -path "*/$CTR_ID*" -exec rmdir {} + || status=1
    rm -rf "$CTR_DIR"
    exit "$status"
fi

runtime=$1 plugins=$2 davit_cni=$3
namespace=$CTR_ID
socket=$CTR_DIR/containerd.sock
image=localhost/busybox:latest
tool() { ctr --address "$socket" --namespace "$namespace" "$@"; }
run() { tool run --runc-binary "$runtime" --runc-root "$CTR_DIR/runtime" --cni "$@"; }
steps=0
step() { steps=$((steps + 1)); printf '%s\n' "-- $*"; }
fail() { echo "containerd: FAILED: $*"; tail -n 20 "$CTR_DIR/log"; exit 1; }

make_host() {
    ip link set lo up
    for directory in /run /var/lib /opt; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
    if [ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ]; then
        mount -o remount,bind,ro /sys/fs/cgroup
    fi
    # ctr looks for networks and plugins at fixed places.
    mkdir -p "$CTR_DIR/etc" "$CTR_DIR/etc.work" /run/netns /opt/cni/bin
    mount -t overlay -o "lowerdir=/etc,upperdir=$CTR_DIR/etc,workdir=$CTR_DIR/etc.work" etc /etc
    mkdir -p /etc/cni/net.d
    rm -f /etc/cni/net.d/*
    mount --bind "$plugins" /opt/cni/bin
    # Both keys, as `davit-cni network create` writes them: containerd 1.6 reads only the first.
    cat >/etc/cni/net.d/10-ctr.conflist <<EOF
{ "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "ctr", "plugins": [
  { "type": "bridge", "bridge": "ctr0", "isDefaultGateway": true,
    "ipam": { "type": "host-local", "subnet": "10.89.7.0/24", "dataDir": "$CTR_DIR/networks" } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
EOF
    cat >"$CTR_DIR/config.toml" <<EOF
version = 2
root = "$CTR_DIR/root"
state = "$CTR_DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$socket"
[ttrpc]
  address = "$socket.ttrpc"
[debug]
  level = "info"
EOF
}

start_containerd() {
    containerd --config "$CTR_DIR/config.toml" >"$CTR_DIR/log" 2>&1 &
    containerd=$!
    for _ in $(seq 100); do
        timeout 2 ctr --address "$socket" version >/dev/null 2>&1 && return
        kill -0 "$containerd" 2>/dev/null || fail 'containerd ended'
        sleep 0.1
    done
    fail 'containerd does not answer'
}

# Reservations, containers of the runtime, tasks' mounts and cgroups, links, packet filters.
what_is_there() {
    sh "$repository/crates/testbed/src/snapshot.sh" "$namespace" "$CTR_DIR/runtime" \
        "$CTR_DIR/networks" /var/lib/cni/results >"$CTR_DIR/there" || fail 'the snapshot'
    grep -v -e last_reserved_ip -e '/lock$' -e '/iptables\.queue$' -e '/\.davit' -e ' ctr0' -e '^ctr0' -e 'dev ctr0' -e "$CTR_DIR/runtime$" \
        "$CTR_DIR/there"
}

# Whether the cache knows a container, and how many addresses are given.
cached() { [ -e "/var/lib/cni/results/ctr-$1-eth0" ]; }
reserved() { find "$CTR_DIR/networks/ctr" -name '10.*' | wc -l; }

make_host
"$repository/conformance/clients/image.sh" "$image" "$CTR_DIR/image.tar"
start_containerd
step 'import an image that was packed here'
tool images import --no-unpack "$CTR_DIR/image.tar" >/dev/null 2>&1 ||
    tool images import "$CTR_DIR/image.tar" >/dev/null || fail 'import'

step 'run --rm --cni once, so that what the first use makes is there: the bridge, directories'
run --rm "$image" first true || fail 'the first run'
what_is_there >"$CTR_DIR/before"

step 'run --rm --cni: ping the gateway from inside'
run --rm "$image" pings ping -c 2 -W 2 10.89.7.1 || fail 'ping'
step 'run --rm --cni: the interface and its address'
run --rm "$image" looks ip -4 addr show eth0 | grep -q 'inet 10.89.7.' || fail 'no address'
step 'run --rm --cni: the exit status comes through'
status=0; run --rm "$image" fails sh -c 'exit 42' || status=$?
[ "$status" -eq 42 ] || fail "status $status instead of 42"
step 'run --rm: a program that is not there is an error'
if run --rm "$image" missing /no/such/program 2>"$CTR_DIR/error"; then fail 'it ran'; fi
grep -q 'no such file' "$CTR_DIR/error" || fail "$(cat "$CTR_DIR/error")"

step 'run --detach --cni'
run --detach "$image" daemon sleep 600 || fail 'detached run'
step 'task ls'
tool task ls | grep -q 'daemon .*RUNNING' || fail 'not running'
step 'task exec'
[ "$(tool task exec --exec-id one daemon hostname)" != '' ] || fail 'exec'
tool task exec --exec-id two daemon ping -c 1 -W 2 10.89.7.1 >/dev/null || fail 'ping by exec'
step 'task exec: status'
status=0; tool task exec --exec-id three daemon sh -c 'exit 7' || status=$?
[ "$status" -eq 7 ] || fail "exec status $status instead of 7"
step 'task pause and resume'
tool task pause daemon || fail 'pause'
tool task ls | grep -q 'daemon .*PAUSED' || fail 'not paused'
tool task resume daemon || fail 'resume'
step 'task ps and metrics'
tool task ps daemon | grep -q '^[0-9]' || fail 'ps'
tool task metrics daemon | grep -q 'pids.current\|memory' || fail 'metrics'
step 'task kill'
tool task kill --signal SIGKILL daemon || fail 'kill'
for _ in $(seq 50); do
    tool task ls | grep -q 'daemon .*STOPPED' && break
    sleep 0.1
done
step 'task rm and container rm'
tool task rm daemon >/dev/null 2>&1 || fail 'task rm'
tool container rm daemon || fail 'container rm'

# containerd 1.6's ctr frees the network of foreground runs only; a detached container's is the
# administrator's to free.
step 'davit-cni del of the detached container, whose namespace is gone: by the file that Go wrote'
cached "$namespace-daemon" || fail 'Go wrote no file'
# containerd 1.6 writes no namespace into it, so nobody can tell that it is dead.
"$davit_cni" gc >/dev/null || fail 'gc'
cached "$namespace-daemon" || fail 'gc has taken what may be alive'
"$davit_cni" del --id "$namespace-daemon" ctr '' || fail 'del'
! cached "$namespace-daemon" || fail 'the file of the dead container stays'
[ "$(reserved)" = 0 ] || fail "reserved: $(reserved)"

step 'davit-cni del of a living one that ctr attached, then davit-cni add, and DEL by ctr'
run --rm "$image" swap sleep 600 >"$CTR_DIR/swap" 2>&1 &
foreground=$!
for _ in $(seq 100); do
    tool task exec --exec-id "ready$steps-$_" swap ip -4 addr show eth0 2>/dev/null | grep -q 'inet 10.89.7.' && break
    sleep 0.1
done
pid=$(tool task ls | awk '$1 == "swap" { print $2 }')
id=$namespace-swap netns=/proc/$pid/ns/net
cached "$id" || fail 'Go wrote no file'
"$davit_cni" del --id "$id" ctr "$netns" || fail 'del of what Go attached'
! nsenter --net="$netns" ip link show eth0 >/dev/null 2>&1 || fail 'eth0 is still there'
! cached "$id" || fail 'the file that Go wrote is still there'
[ "$(reserved)" = 0 ] || fail "reserved: $(reserved)"
"$davit_cni" add --id "$id" ctr "$netns" >/dev/null || fail 'add for ctr to delete'
tool task exec --exec-id again swap ping -c 1 -W 2 10.89.7.1 >/dev/null || fail 'ping after the add'
[ "$(reserved)" = 1 ] || fail "reserved: $(reserved)"
tool task kill --signal SIGKILL swap || fail 'kill'
wait "$foreground" || true
! cached "$id" || fail 'Go left the file that davit-cni wrote'
[ "$(reserved)" = 0 ] || fail "Go left the address that davit-cni gave: $(reserved)"

what_is_there >"$CTR_DIR/after"
step 'before and after'
if diff -u "$CTR_DIR/before" "$CTR_DIR/after"; then
    echo 'no difference'
else
    fail 'something was left behind'
fi
echo "containerd: $steps steps passed with $runtime and $plugins"
