# The private host that demos play on, and what it holds before and after. Sourced; $repository is
# set by then.

DAVIT=${DAVIT:-$repository/out/bin/davit}
DAVIT_CNI=${DAVIT_CNI:-$repository/out/bin/davit-cni}
CNI_PATH=${CNI_PATH:-$repository/out/cni}
export DAVIT DAVIT_CNI CNI_PATH

# Returns inside of it; outside, it runs the script again in there and ends with its status.
enter_private_host() {
    [ -z "${DEMO_DIR:-}" ] || return 0
    [ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
    for needed in "$DAVIT" "$DAVIT_CNI" "$CNI_PATH/bridge" ip nft iptables jq curl /bin/busybox; do
        command -v "$needed" >/dev/null || { echo "$0: $needed is missing" >&2; exit 1; }
    done
    DEMO_DIR=$(mktemp -d /tmp/davit-demo.XXXXXX)
    DEMO_ID=dvt-demo$$
    export DEMO_DIR DEMO_ID
    unshare -m -n -i -p --fork --kill-child --mount-proc --propagation private sh "$0" "$@" &
    inner=$!
    # Ctrl-C and the like: everything inside dies with unshare, and the rest is removed here.
    trap 'kill -KILL "$inner" 2>/dev/null || true' INT TERM HUP
    status=0
    wait "$inner" || status=$?
    # A signal ends the first wait early.
    wait "$inner" 2>/dev/null || true
    ours() { find /sys/fs/cgroup -depth -type d -name "$DEMO_ID*" "$@" 2>/dev/null || true; }
    left=$(ours)
    if [ -n "$left" ]; then
        printf 'cgroups left on the machine, removed now:\n%s\n' "$left"
        status=1
        # What was killed may need a moment to leave them.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            ours -exec rmdir {} +
            [ -n "$(ours)" ] || break
            sleep 0.2
        done
    fi
    rm -rf "$DEMO_DIR"
    exit "$status"
}

say() { printf '\n== %s\n' "$*"; }
# A pipe would end with the status of sed, whatever the command says.
show() {
    printf '$ %s\n' "$*"
    shown=0
    "$@" >"$DEMO_DIR/shown" || shown=$?
    sed 's/^/  /' "$DEMO_DIR/shown"
    return "$shown"
}
runtime() { "$DAVIT" --root "$DEMO_DIR/state" "$@"; }
what_is_there() {
    sh "$repository/crates/testbed/src/snapshot.sh" "$DEMO_ID" \
        "$DEMO_DIR/state" "$DEMO_DIR/net.d" "$DEMO_DIR/cache" "$DEMO_DIR/networks" \
        /run /var/lib >"$DEMO_DIR/there"
    grep -v -e /last_reserved_ip -e 'lock$' -e '/iptables\.queue$' -e '/\.davit' -e /cache/locks "$DEMO_DIR/there"
}

# The private host, and an outside beyond it: 198.51.100.2 behind the host's 198.51.100.1.
make_host() {
    ip link set lo up
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    mkdir -p /run/netns "$DEMO_DIR/state" "$DEMO_DIR/net.d"
    # What the first use of anything makes and everybody keeps: directories, and the built-in
    # chains of iptables, which are empty.
    mkdir -p /run/davit-cni/containers /run/davit-cni/hosts /var/lib/cni/networks "$DEMO_DIR/cache/results" \
        "$DEMO_DIR/networks/demo"
    for tool in iptables ip6tables; do
        for chain in 'nat PREROUTING' 'nat OUTPUT' 'nat POSTROUTING' 'filter FORWARD'; do
            set -- -t ${chain% *}
            "$tool" "$@" -A "${chain#* }" -j RETURN && "$tool" "$@" -D "${chain#* }" -j RETURN
        done
    done
    if [ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ]; then
        mount -o remount,bind,ro /sys/fs/cgroup
    fi
    ip netns add outside
    ip link add up0 type veth peer name up1 netns outside
    ip addr add 198.51.100.1/24 dev up0
    ip link set up0 addrgenmode none up
    nsenter --net=/run/netns/outside sh -c 'ip addr add 198.51.100.2/24 dev up1; ip link set up1 addrgenmode none up'
}

# make_rootfs NAME: busybox, and a page for its httpd.
make_rootfs() {
    root=$DEMO_DIR/$1/rootfs
    mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/proc" "$root/sys" "$root/tmp" "$root/www"
    for name in $(/bin/busybox --list); do ln -s busybox "$root/bin/$name"; done
    cp --remove-destination /bin/busybox "$root/bin/busybox"
    echo "hello from $1" >"$root/www/index.html"
}

compare() {
    what_is_there >"$DEMO_DIR/after"
    say 'before and after: links, addresses, routes, nft, iptables, mounts, netns, cgroups, files'
    if diff -u "$DEMO_DIR/before" "$DEMO_DIR/after"; then
        echo 'no difference'
    elif [ -n "${DEMO_TOLERATE:-}" ]; then
        echo "left behind, as is known of $DEMO_TOLERATE"
    else
        echo 'DIFFERENT: something was left behind'
        exit 1
    fi
}

await() { # await SECONDS COMMAND...: until it succeeds
    tries=$(($1 * 20)) && shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "gave up waiting for: $*"; return 1; }
        sleep 0.05
    done
}
# fetch [PORT]: from outside.
fetch() { nsenter --net=/run/netns/outside curl -sS -m 5 "http://198.51.100.1:${1:-8080}/"; }
