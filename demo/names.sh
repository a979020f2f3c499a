#!/bin/sh
# A network in one command, two containers on it, found by name and from outside; then nothing.
#
# No hook is written by hand: `davit run --network --publish` has davit-cni inject. Everything
# happens in a private host of its own (mount, network, IPC and PID namespaces).
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/demo/private-host.sh"
enter_private_host "$@"

# What a newcomer has by default: the directories are /etc/cni/net.d, /opt/cni/bin and so on.
NETCONFPATH=$DEMO_DIR/net.d
DAVIT_CNI_CACHE_DIR=$DEMO_DIR/cache
PATH=$(dirname "$DAVIT_CNI"):$PATH
export NETCONFPATH DAVIT_CNI_CACHE_DIR PATH

# make_bundle NAME SCRIPT: a rootfs of busybox, and the config of this directory with the program.
make_bundle() {
    make_rootfs "$1"
    jq --arg script "$2" --arg name "$1" --arg cgroup "/$DEMO_ID-$1" '
        .process.args = ["/bin/sh", "-c", $script] | .hostname = $name | .linux.cgroupsPath = $cgroup
        ' "$repository/demo/config.json" >"$DEMO_DIR/$1/config.json"
}
run_detached() {
    name=$1 && shift
    say "davit run -d $* $name"
    runtime run --detach --bundle "$DEMO_DIR/$name" "$@" "$name" </dev/null >"$DEMO_DIR/log" 2>&1 ||
        { cat "$DEMO_DIR/log"; exit 1; }
}

say "the private host of this demo lives in $DEMO_DIR"
make_host
what_is_there >"$DEMO_DIR/before"

say 'a network: the first free subnet is chosen'
show "$DAVIT_CNI" network create demo
show "$DAVIT_CNI" network ls
make_bundle web 'exec httpd -f -p 80 -h /www'
make_bundle db 'exec httpd -f -p 5432 -h /www'
cp "$DEMO_DIR/web/config.json" "$DEMO_DIR/untouched"
run_detached web --network demo --publish 8080:80/tcp
run_detached db --network demo:alias=sql --publish 8081:5432/tcp

say 'each finds the other by its name, through the hosts file that davit-cni keeps'
show runtime exec web cat /etc/hosts
await 5 runtime exec web wget -q -O - http://db:5432/
show runtime exec web wget -q -O - http://db:5432/
show runtime exec web wget -q -O - http://sql:5432/
show runtime exec db wget -q -O - http://web/
[ "$(runtime exec db wget -q -O - http://web/)" = 'hello from web' ]
[ "$(runtime exec web wget -q -O - http://sql:5432/)" = 'hello from db' ]

say 'and both are reached from another namespace, by the published ports'
show fetch 8080
show fetch 8081
[ "$(fetch 8080)" = 'hello from web' ]
[ "$(fetch 8081)" = 'hello from db' ]
show "$DAVIT_CNI" list
cmp "$DEMO_DIR/web/config.json" "$DEMO_DIR/untouched" && echo '  the bundles are as they were'

say 'a container on two networks reaches both gateways, by interfaces in the order of the flags'
show "$DAVIT_CNI" network create back
make_bundle both 'exec httpd -f -p 80 -h /www'
run_detached both --network demo --network back
show runtime exec both ip route
for interface in eth0 eth1; do
    gateway=$(runtime exec both ip route | sed -n "s/^default via \([0-9.]*\) dev $interface.*/\1/p")
    runtime exec both ping -c 1 -W 2 "$gateway" >/dev/null && echo "  $interface reaches $gateway"
done

say 'a network that is in use stays'
if "$DAVIT_CNI" network rm demo; then echo 'it was removed'; exit 1; fi
say 'davit delete: the injected poststop hook detaches'
for name in web db both; do
    runtime delete --force "$name"
done
if fetch 8080 >/dev/null 2>&1; then echo 'the port still answers'; exit 1; fi
show "$DAVIT_CNI" network rm demo back
compare
