#!/bin/sh
# Two containers from OCI bundles, each given its network by its bundle's own hooks.
#
#   demo/demo.sh          they reach each other and the outside reaches a port; then all is removed
#   demo/demo.sh crash    `davit run` is killed in the middle, again and again; then all is removed
#
# Either half can be swapped: DAVIT=/usr/sbin/runc, or CNI_PATH=/usr/lib/cni. Everything happens
# in a private host of its own (mount, network, IPC and PID namespaces) below one directory.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/demo/private-host.sh"
case ${1:-life} in life | crash) ;; *) echo 'usage: demo.sh [crash]' >&2; exit 2 ;; esac
enter_private_host "$@"

hooks_of() { "$DAVIT_CNI" "$@" --net-dir "$DEMO_DIR/net.d" --cni-path "$CNI_PATH" \
    --cache-dir "$DEMO_DIR/cache"; }
make_network() {
    cat >"$DEMO_DIR/net.d/10-demo.conflist" <<EOF
{
  "cniVersion": "1.0.0",
  "name": "demo",
  "plugins": [
    { "type": "bridge", "bridge": "demo0", "isDefaultGateway": true, "ipMasq": true,
      "hairpinMode": true,
      "ipam": { "type": "host-local", "subnet": "10.88.7.0/24", "dataDir": "$DEMO_DIR/networks" } },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
EOF
}

# make_bundle NAME PORTS SCRIPT: a rootfs of busybox, and the config of this directory with the
# program, the annotations and the hooks put in.
make_bundle() {
    make_rootfs "$1"
    jq --arg script "$3" --arg ports "$2" --arg hook "$DAVIT_CNI" --arg name "$1" \
        --arg cgroup "/$DEMO_ID-$1" --arg dir "$DEMO_DIR" --arg plugins "$CNI_PATH" '
        def hook($word): { path: $hook, args: ["davit-cni", $word], env: [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NETCONFPATH=\($dir)/net.d",
            "CNI_PATH=\($plugins)", "DAVIT_CNI_CACHE_DIR=\($dir)/cache" ] };
        .process.args = ["/bin/sh", "-c", $script] | .hostname = $name
        | .linux.cgroupsPath = $cgroup
        | .annotations = { "org.davit.networks": "demo" }
        | if $ports == "" then . else .annotations["org.davit.ports"] = $ports end
        | .hooks = { createRuntime: [hook("create-runtime")], poststop: [hook("poststop")] }
        ' "$repository/demo/config.json" >"$DEMO_DIR/$1/config.json"
}

# CNI never removes a bridge, for others may use it; on a real host that is the administrator's.
remove_bridge() {
    ip link show demo0 >/dev/null 2>&1 || return 0
    say 'the bridge stays after its last container, as CNI wants; its owner removes it'
    show ip link del demo0
}

stopped() { runtime state "$1" | jq -e '.status == "stopped"'; }
address() { runtime exec "$1" ip -4 -o addr show dev eth0 | sed -n 's/.*inet \([0-9.]*\).*/\1/p'; }

life() {
    say 'two bundles: web publishes its port 80 as 8080, client only sleeps'
    make_bundle web 8080:80/tcp 'exec httpd -f -p 80 -h /www'
    make_bundle client '' 'exec sleep 600'
    jq -c '{args: .process.args, annotations, hooks: (.hooks | map_values([.[].args]))}' \
        "$DEMO_DIR/web/config.json" | sed 's/^/  /'
    for name in web client; do
        say "create and start $name: its createRuntime hook attaches it to the network demo"
        runtime create --bundle "$DEMO_DIR/$name" "$name" </dev/null >"$DEMO_DIR/$name.log" 2>&1 ||
            { cat "$DEMO_DIR/$name.log"; exit 1; }
        runtime start "$name"
        show runtime exec "$name" ip -4 addr show dev eth0
    done
    web=$(address web)
    [ -n "$web" ] || { echo 'web has no address'; exit 1; }
    say "ping from client to web at $web"
    show runtime exec client ping -c 3 -W 2 "$web"
    runtime exec client ping -c 1 -W 2 "$web" >/dev/null
    say 'fetch the published port from another namespace: http://198.51.100.1:8080/'
    await 5 fetch
    show fetch
    [ "$(fetch)" = 'hello from web' ]
    say 'what is running'
    show runtime list
    for name in web client; do
        say "kill and delete $name: its poststop hook detaches it"
        runtime kill "$name" KILL
        await 10 stopped "$name"
        runtime delete "$name"
    done
    if fetch >/dev/null 2>&1; then echo 'the port still answers'; exit 1; fi
    show runtime list
}

crash() {
    reserved=0
    make_bundle web 8080:80/tcp 'exec httpd -f -p 80 -h /www'
    for delay in 0.001 0.003 0.006 0.010 0.015 0.020 0.030 0.040 0.060 0.080 0.120 0.300 1; do
        say "davit run, killed with SIGKILL after $delay s; then delete --force and davit-cni gc"
        timeout --foreground -s KILL "$delay" "$DAVIT" --root "$DEMO_DIR/state" \
            run --bundle "$DEMO_DIR/web" web </dev/null >/dev/null 2>&1 || true
        reservations=$(find "$DEMO_DIR/networks" -name '10.88.*' | wc -l)
        [ "$reservations" -eq 0 ] || reserved=$((reserved + 1))
        printf '  at that moment: %s reservations, %s cached results, %s containers\n' \
            "$reservations" \
            "$(find "$DEMO_DIR/cache" -type f -path '*results*' | wc -l)" \
            "$(runtime list -q 2>/dev/null | wc -l)"
        runtime delete --force web
        hooks_of gc
    done
    # A kill before the hook ran has nothing to clean: that alone would prove nothing.
    say "$reserved rounds were killed while an address was reserved"
    [ "$reserved" -gt 0 ] || { echo 'no round met a reservation'; exit 1; }
    say 'and once in peace, to show that nothing stands in the way'
    runtime run --bundle "$DEMO_DIR/web" --detach web </dev/null >/dev/null 2>&1
    await 5 fetch
    show fetch
    runtime delete --force web
}

say "the private host of this demo lives in $DEMO_DIR"
make_host
make_network
what_is_there >"$DEMO_DIR/before"
echo "runtime $DAVIT, hook $DAVIT_CNI, plugins $CNI_PATH"
case ${1:-life} in
life) life ;;
crash) crash ;;
*) echo "usage: demo.sh [crash]" >&2; exit 2 ;;
esac
remove_bridge
compare
