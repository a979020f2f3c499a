# Networks under podman and Docker: the engine's own, and made ones. Sourced.
web() { detached --name "$1" "${@:2}" "$B" httpd -f -p 80 -h /etc; }
published() {
    web cx --publish "127.0.0.1:$1:80"
    await fetch "http://127.0.0.1:$1/passwd"
    says somebody fetch "http://127.0.0.1:$1/passwd"
    says "$1" tool port cx
    remove cx
    complains 'onnect' fetch "http://127.0.0.1:$1/passwd"
}
published_udp() { # busybox hears no datagrams, but its kernel counts those for a closed port
    sleeper cx --publish 127.0.0.1:18083:53/udp
    says 0 unheard
    echo word >/dev/udp/127.0.0.1/18083
    await says 1 unheard
    remove cx
}
unheard() { tool exec cx awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp; }
port_taken() {
    web cx --publish 127.0.0.1:18082:80
    refuses web cy --publish 127.0.0.1:18082:80
    remove cx
    tool rm --force cy || true
}
talk() {
    web cx "$@"
    says somebody once "$@" "$B" wget -q -O - "http://$(address_of cx)/passwd"
    remove cx
}
fixed_address() {
    says 'inet 10.77.0.77/' once --network ours --ip 10.77.0.77 "$B" ip -4 addr show eth0
}
connected() {
    sleeper cx
    tool network connect ours cx
    says 'inet 10.77.0.' tool exec cx ip -4 addr show eth1
    tool network disconnect ours cx
    complains eth1 tool exec cx ip -4 addr show eth1
    remove cx
}
network_in_use() {
    sleeper cx --network ours
    refuses tool network rm ours
    remove cx
}
joined() {
    web cx
    says somebody once --network container:cx "$B" wget -q -O - http://127.0.0.1/passwd
    remove cx
}

op 'network: address and default route' says 'default via' once --network "$NETWORK" "$B" ip route
op 'network: two containers talk' talk --network "$NETWORK"
op 'run --publish' published 18081
op 'run --publish: udp' published_udp
op 'run --publish: a port that is taken' port_taken
op 'run --network container:NAME' joined
op 'network create' tool network create --subnet 10.77.0.0/24 ours
op 'network ls, inspect' says 10.77.0 tool network inspect ours
op 'run --network NAME' says 'inet 10.77.0.' once --network ours "$B" ip -4 addr show eth0
op 'run --network NAME: two containers talk' talk --network ours
op 'run --network NAME --ip' fixed_address
op 'network connect, disconnect' connected
op 'network rm of one in use' network_in_use
op 'network rm' tool network rm ours
