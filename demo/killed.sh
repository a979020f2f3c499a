#!/bin/sh
# davit-cni or one of its plugins is killed (SIGKILL) at a random moment of an add, a del or a hook
# (create-runtime, poststop), again and again. After one `davit-cni gc` nothing may be left, and the
# next add, or create of the same container, must succeed; every other create does so before the gc.
#
#   demo/killed.sh            KILLS=200 times; SEED=... repeats a run
#
# Everything happens in a private host of its own, below one directory. Nothing is left means: links,
# rules of nftables and iptables, reservations, cache, state with its directories, the hosts file of a
# neighbour that lives throughout, and no lock held by anybody.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
DAVIT_CNI=${DAVIT_CNI:-$repository/out/bin/davit-cni}
CNI_PATH=${CNI_PATH:-$repository/out/cni}
KILLS=${KILLS:-200}
SEED=${SEED:-$$}
export DAVIT_CNI CNI_PATH KILLS SEED

if [ -z "${KILLED_DIR:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo 'killed.sh: needs root' >&2; exit 1; }
    for needed in "$DAVIT_CNI" "$CNI_PATH/bridge" ip nft iptables ip6tables-save unshare; do
        command -v "$needed" >/dev/null || { echo "killed.sh: $needed is missing" >&2; exit 1; }
    done
    KILLED_DIR=$(mktemp -d /tmp/davit-killed.XXXXXX)
    export KILLED_DIR
    status=0
    unshare -m -n -i -p --fork --kill-child --mount-proc --propagation private sh "$0" || status=$?
    rm -rf "$KILLED_DIR"
    exit "$status"
fi

mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
ip link set lo up
cd "$KILLED_DIR"
export NETCONFPATH=$KILLED_DIR/net.d
mkdir net.d reservations
# Both firewalls, both families, addresses, ports: whatever can be left behind.
cat >net.d/10-net.conflist <<EOF
{ "cniVersion": "1.1.0", "name": "net", "plugins": [
  { "type": "bridge", "bridge": "kill0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
    "macspoofchk": true,
    "ipam": { "type": "host-local", "dataDir": "$KILLED_DIR/reservations", "ranges": [
      [{ "subnet": "10.99.0.0/28" }], [{ "subnet": "fd99::/120" }] ] } },
  { "type": "portmap", "backend": "iptables", "capabilities": { "portMappings": true } },
  { "type": "firewall", "backend": "iptables" },
  { "type": "tuning", "mtu": 1400 } ] }
EOF
export CAP_ARGS='{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}'

# The kernel's own counters and handles are no leftovers; neither are chains that plugins keep for
# the next container, which is why the host is compared with itself after one add and one del.
seen() {
    ip -o link | sed 's/^[0-9]*: //; s/ .*//' | sort
    nft list ruleset 2>/dev/null | sed 's/ # handle.*//; s/counter packets [0-9]* bytes [0-9]*//'
    iptables-save | sed '/^#/d; s/\[[0-9]*:[0-9]*\]//'
    ip6tables-save | sed '/^#/d; s/\[[0-9]*:[0-9]*\]//'
    ip rule
    find reservations /var/lib/cni /run/davit-cni /run/cni -mindepth 1 2>/dev/null |
        grep -v -e /locks/ -e '/last_reserved_ip' -e '/lock$' -e '/index' | sort || true
    cat /run/davit-cni/containers/*/hosts
    # Nobody holds a lock any more.
    for lock in $(find reservations /var/lib/cni /run -type f -size 0 2>/dev/null); do
        flock --nonblock --exclusive "$lock" true || echo "held: $lock"
    done
}

# Numbers of one seed: the 31-bit generator of POSIX's examples, shell arithmetic alone.
random() {
    SEED=$(((SEED * 1103515245 + 12345) % 2147483648))
    random=$(((SEED / 65536) % $1))
}

# Every descendant of a process, which goes first.
descendants() {
    echo "$1"
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do descendants "$child"; done
}

now() { date +%s%N; }

first_seed=$SEED number=0
fail() {
    printf 'killed.sh: number %s (seed %s): %s\n' "$number" "$first_seed" "$*" >&2
    exit 1
}

# A container as a hook sees it: a process in a namespace, and its state on standard input.
container() { # container ID
    unshare -n sleep infinity &
    process=$!
    # unshare is that process, and becomes sleep when its namespace is there.
    until [ "$(cat "/proc/$process/comm" 2>/dev/null)" = sleep ]; do sleep 0.01; done
    state "$1" "$process" >"$1.state"
}
state() {
    printf '{"ociVersion": "1.0.2", "id": "%s", "status": "creating", "pid": %s, "bundle": "%s",' "$1" "$2" "$KILLED_DIR"
    printf '"annotations": {"org.davit.networks": "net:alias=www", "org.davit.hosts": "db:10.0.0.1"'
    # The neighbour publishes nothing: the port is for those who come and go.
    [ "$1" = neighbour ] || printf ', "org.davit.ports": "8080:80"'
    printf '}}\n'
}
died() { # died PROCESS: gone, with its namespace
    kill -9 "$1"
    wait "$1" 2>/dev/null || true
}
hook() { "$DAVIT_CNI" "$1" <"$2.state"; }

# Who is there all the time; nobody whom it cannot reach may stay in its hosts file.
container neighbour
hook create-runtime neighbour

# Attachments that nothing happens to: what a clean host looks like, and how long things take.
before=$(now)
ip netns add warm
"$DAVIT_CNI" add net /run/netns/warm >/dev/null
"$DAVIT_CNI" del net /run/netns/warm
"$DAVIT_CNI" add net /run/netns/warm >/dev/null
span=$((($(now) - before) * 6 / 10000 + 1))
"$DAVIT_CNI" del net /run/netns/warm
ip netns del warm
container warm
hook create-runtime warm
grep -q warm /run/davit-cni/containers/neighbour/hosts || fail 'a neighbour does not see it'
died "$process"
hook poststop warm
"$DAVIT_CNI" gc >gc.out
seen >clean
echo "$KILLS kills within ${span} microseconds each, seed $first_seed"

# What is to be interrupted, and what becomes of its container.
begin() {
    case $verb in
    add | del) ip netns add "$box" ;;
    *) container "$box" ;;
    esac
    case $verb in
    del) "$DAVIT_CNI" add net "/run/netns/$box" >/dev/null 2>add.err || fail "add before a del: $(cat add.err)" ;;
    poststop)
        hook create-runtime "$box" 2>add.err || fail "create before a poststop: $(cat add.err)"
        died "$process"
        ;;
    esac
}
run() {
    case $verb in
    add | del) exec "$DAVIT_CNI" "$verb" net "/run/netns/$box" >/dev/null 2>&1 ;;
    *) exec "$DAVIT_CNI" "$verb" <"$box.state" >/dev/null 2>&1 ;;
    esac
}
end() {
    case $verb in
    add | del) ip netns del "$box" ;;
    create-runtime) died "$process" ;;
    esac
}
# The next one: of a hook with the very same ID.
next() {
    case $verb in
    add | del)
        ip netns add next
        "$DAVIT_CNI" add net /run/netns/next >/dev/null 2>add.err || fail "the next add: $(cat add.err)"
        "$DAVIT_CNI" del net /run/netns/next 2>add.err || fail "the next del: $(cat add.err)"
        ip netns del next
        ;;
    *)
        container "$box"
        hook create-runtime "$box" 2>add.err || fail "the next create after a killed $verb ($1 the gc): $(cat add.err)"
        died "$process"
        hook poststop "$box" 2>add.err || fail "the next poststop: $(cat add.err)"
        ;;
    esac
}

number=0 hits=0 plugins=0 hooks=0 litter=0
while [ "$number" -lt "$KILLS" ]; do
    number=$((number + 1))
    box=box$number
    random 4
    case $random in
    0) verb=add ;;
    1) verb=del ;;
    2) verb=create-runtime ;;
    3) verb=poststop ;;
    esac
    begin
    random "$span"
    pause=$random
    run &
    pid=$!
    sleep "$(printf '%d.%06d' $((pause / 1000000)) $((pause % 1000000)))"
    # One of those who are alive: davit-cni itself, a plugin, or a plugin's plugin.
    set -- $(descendants "$pid")
    random $#
    shift "$random"
    if kill -9 "$1" 2>/dev/null; then
        hits=$((hits + 1))
        case $verb in create-runtime | poststop) hooks=$((hooks + 1)) ;; esac
        [ "$1" = "$pid" ] || plugins=$((plugins + 1))
    fi
    wait "$pid" 2>/dev/null || true
    # The container is dead, whatever became of its add.
    end
    seen >dirty
    cmp -s clean dirty || litter=$((litter + 1))
    random 2
    [ "$random" = 0 ] || case $verb in create-runtime | poststop) next before ;; esac
    "$DAVIT_CNI" gc >gc.out 2>&1 || fail "gc after a killed $verb ($pause us): $(cat gc.out)"
    seen >now
    cmp -s clean now || fail "left after a killed $verb ($pause us, process $1 of $pid) and a gc:
$(diff clean now)"
    next after
done
[ "$hits" -gt $((KILLS / 2)) ] || fail "only $hits of $KILLS found somebody alive"
# Everybody of whom the last line speaks; of few kills, none may well have met one.
if [ "$KILLS" -ge 50 ]; then
    [ "$hooks" -gt 0 ] || fail "none of $hits was in a hook"
    [ "$plugins" -gt 0 ] || fail "none of $hits was on a plugin"
fi
# Or the comparison sees nothing at all.
[ "$litter" -gt 0 ] || fail "no kill left anything for gc to find"
echo "$litter of them left something for gc to find"
echo "$KILLS kills, $hits of them in time, $plugins of those on plugins, $hooks in hooks: nothing left, every next add well"
