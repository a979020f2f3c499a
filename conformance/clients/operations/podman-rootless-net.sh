# Networks of a user: slirp4netns, and CNI in a network namespace of the user's own. Sourced.
web() { detached --name "$1" "${@:2}" "$B" httpd -f -p 80 -h /etc; }
published() { # OPTION...
    web cx --publish 127.0.0.1:18081:80 "$@"
    await fetch http://127.0.0.1:18081/passwd
    remove cx
    refuses fetch http://127.0.0.1:18081/passwd
}
talk() {
    web cx --network ours
    says somebody once --network ours "$B" wget -q -O - "http://$(address_of cx)/passwd"
    remove cx
}
joined() {
    web cx
    says somebody once --network container:cx "$B" wget -q -O - http://127.0.0.1/passwd
    remove cx
}
network_in_use() {
    sleeper cx --network ours
    refuses tool network rm ours
    remove cx
}
network_again() {
    tool network rm ours
    tool network create --subnet 10.77.0.0/24 ours
}
op 'run: an address by slirp4netns' says 'inet 10.0.2.' once "$B" ip -4 addr show tap0
op 'run --publish' published
op 'run --publish, the address of a network' published --network ours
op 'run --network container:NAME' joined
op 'network ls, inspect' says 10.77.0 tool network inspect ours
op 'run --network NAME' says 'inet 10.77.0.' once --network ours "$B" ip -4 addr show eth0
op 'run --network NAME: two containers talk' talk
op 'network rm of one in use' network_in_use
op 'network rm, create' network_again
