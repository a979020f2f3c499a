# ctr run --cni inside a private host: sh ctr-cni.sh RUNTIME DIR NAMESPACE IMAGE.sh PLUGINS
# ctr takes the first network of /etc/cni/net.d and the plugins of /opt/cni/bin.
set -eu
[ -n "${CTR_INSIDE:-}" ] || CTR_INSIDE=1 exec unshare -m --propagation private sh "$0" "$@"
runtime=$1 dir=$2 namespace=$3
. "${4%/*}/daemon.sh"
mkdir -p "$dir/etc" "$dir/etc.work"
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" etc /etc
mount -t tmpfs tmpfs /opt
mkdir -p /etc/cni/net.d /opt/cni/bin
rm -f /etc/cni/net.d/*
mount --bind "$5" /opt/cni/bin
conf() {
    cat >"/etc/cni/net.d/$1" <<END
{ "cniVersion": "1.0.0", "name": "$2", "plugins": [
  { "type": "bridge", "bridge": "$2", "isDefaultGateway": true, "ipMasq": true,
    "ipam": { "type": "host-local", "subnet": "$3", "dataDir": "$dir/networks" } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
END
}
conf 20-second.conflist second0 10.89.9.0/24
conf 10-first.conflist first0 10.89.8.0/24
tool() { ctr --address "$dir/s" --namespace "$namespace" "$@"; }
run() { tool run --runc-binary "$runtime" --runc-root "$dir/runtime" --cni "$@"; }
# What an attachment may leave: addresses, links other than the bridge, rules that name somebody.
left() {
    find "$dir/networks" -name '10.*' 2>/dev/null || true
    ip -o link | grep -o 'veth[^:@]*\|dv[0-9a-f][^:@]*' || true
    iptables-save -t nat 2>/dev/null | grep -o "$namespace-[a-z]*" || true
    nft list ruleset 2>/dev/null | grep -o "$namespace-[a-z]*" || true
    ls /var/lib/cni/results 2>/dev/null | grep "$namespace" || true
}
start_containerd "$4"
run --rm $image once ip -4 addr show eth0 >"$dir/seen" || fail run
grep -q 'inet 10\.89\.8\.' "$dir/seen" || fail "not on the first network: $(cat "$dir/seen")"
[ -z "$(left)" ] || fail "left by run --rm: $(left)"
run --detach $image stays sleep 600 || fail 'run --detach'
[ -n "$(left)" ] || fail 'a living container has nothing'
tool task kill --signal SIGKILL stays || fail kill
for _ in $(seq 50); do tool task ls | grep -q 'stays .*STOPPED' && break; sleep 0.1; done
tool task rm stays >/dev/null 2>&1 || fail 'task rm'
tool container rm stays || fail 'container rm'
stop_containerd
