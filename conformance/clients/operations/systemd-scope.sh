# ctr run --runc-systemd-cgroup: a scope around each container. Sourced by ctr-systemd.sh.
NAMESPACE=$ID
run() { tool run --runc-binary "$RUNTIME" --runc-root "$DIR/runtime" --runc-systemd-cgroup "$@"; }
execs() { tool task exec --exec-id "e$RANDOM$RANDOM" "$@"; }
scope() { echo "$ID-$1.scope"; }
pid() { tool task ls | awk -v name="$1" '$1 == name { print $2 }'; }
# scoped NAME OPTION...: one that sleeps, in a scope of its name.
scoped() {
    local name=$1
    shift
    run --detach --cgroup "$SLICE:$ID:$name" "$@" "$IMAGE" "$name" sleep 600
}
removed() {
    remove "$1"
    await is_forgotten "$(scope "$1")"
}
sweep() {
    local name
    for name in $(tool task ls -q | grep -vx one); do remove "$name"; done
}

has_a_scope() {
    scoped one
    holds "$SLICE" "$(scope one)" Slice
    holds active "$(scope one)" ActiveState
    holds yes "$(scope one)" Delegate
    is_in_scope "$(pid one)" "$(scope one)"
    says 'sleep 600' systemctl status --no-pager "$(scope one)"
}
exec_has_it() {
    execs --detach one sleep 500
    await says 'sleep 500' systemctl status --no-pager "$(scope one)"
}
limits() {
    scoped limited --memory-limit 67108864 --cpus 0.5 --cpu-shares 512
    limits_hold
    systemctl daemon-reload
    limits_hold
    removed limited
}
limits_hold() {
    holds 67108864 "$(scope limited)" MemoryMax
    holds 500ms "$(scope limited)" CPUQuotaPerSecUSec
    holds "$(cgroup_file "$(scope limited)" cpu.weight)" "$(scope limited)" CPUWeight
    says 67108864 cgroup_file "$(scope limited)" memory.max
    says '50000 100000' cgroup_file "$(scope limited)" cpu.max
    [ "$(cgroup_file "$(scope limited)" cpu.weight)" != 100 ]
}
annotated() {
    scoped noted --annotation 'org.systemd.property.TimeoutStopUSec=uint64 7000000' \
        --annotation "org.systemd.property.CollectMode='inactive-or-failed'"
    holds 7s "$(scope noted)" TimeoutStopUSec
    holds inactive-or-failed "$(scope noted)" CollectMode
    removed noted
}
fuse_opens() { says opened "$@" sh -c 'exec 3<>/dev/fuse && echo opened'; }
# Misc device 200 is tun, which nobody was given.
tun_is_denied() { complains 'not permitted' "$@" sh -c '[ -e /tun ] || mknod /tun c 10 200 || exit 0; exec 3<>/tun'; }
devices() {
    modprobe -a tun fuse
    bash -c 'exec 3<>/dev/net/tun' # so it is the cgroup that denies it
    scoped device --device /dev/fuse
    holds strict "$(scope device)" DevicePolicy
    local try
    for try in before after again; do
        fuse_opens execs device
        tun_is_denied execs device
        [ "$try" = again ] || systemctl daemon-reload
    done
    removed device
}
reexecuted() {
    systemctl daemon-reexec
    await holds active "$(scope one)" ActiveState
    is_in_scope "$(pid one)" "$(scope one)"
    execs one true
}
paused() {
    tool task pause one
    await status_is one PAUSED
    systemctl daemon-reload
    status_is one PAUSED
    tool task resume one
    await status_is one RUNNING
    execs one true
}
stopped_by_systemd() {
    scoped ends
    systemctl stop "$(scope ends)"
    await status_is ends STOPPED
    removed ends
}
slice_stopped() { # with more than one in it
    local name
    for name in first second; do
        run --detach --cgroup "$ID-inner.slice:$ID:$name" "$IMAGE" "$name" sleep 600
        holds "$ID-inner.slice" "$(scope "$name")" Slice
    done
    systemctl stop "$ID-inner.slice"
    for name in first second; do
        await status_is "$name" STOPPED
        removed "$name"
    done
}
taken() {
    refuses run --rm --cgroup "$SLICE:$ID:one" "$IMAGE" other true
    status_is one RUNNING
    is_in_scope "$(pid one)" "$(scope one)"
}
greedy() {
    run --detach --cgroup "$SLICE:$ID:greedy" --memory-limit 16777216 "$IMAGE" greedy sh -c 'x=a; while :; do x=$x$x; done'
    await status_is greedy STOPPED
    says 'exit code 137' tool task rm greedy
    tool container rm greedy
    await is_forgotten "$(scope greedy)"
}
failed_start() {
    complains 'no such file or directory' run --rm --cgroup "$SLICE:$ID:never" "$IMAGE" never /no/such/program
    await is_forgotten "$(scope never)"
}
ten_at_once() {
    local i pids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do
        exits "$i" run --rm --cgroup "$SLICE:$ID:many$i" "$IMAGE" "many$i" sh -c "exit $i" & pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    await no_scope
}
no_scope() {
    local left
    left=$(systemctl list-units --all --plain --no-legend "$ID-*.scope" | grep -v "^$(scope one) ") || return 0
    echo "$left"
    return 1
}
still_there() {
    status_is one RUNNING
    holds active "$(scope one)" ActiveState
    execs one true
}

op 'import' import_image
op 'run: a scope in the slice' has_a_scope
op 'task exec: in the scope' exec_has_it
op 'task metrics' says memory tool task metrics one
op 'task pause, daemon-reload, resume' paused
op 'run --memory-limit, --cpus, --cpu-shares: properties that daemon-reload keeps' limits
op 'run --annotation org.systemd.property' annotated
op 'run --device: over daemon-reload it opens, and another is denied' devices
op 'daemon-reexec: the container runs on' reexecuted
op 'run: a scope that is taken' taken
op 'run: a program that is missing leaves no scope' failed_start
op 'run: cgroup is no slice:prefix:name' complains slice:prefix:name run --rm --cgroup "/$ID/x" "$IMAGE" x true
op 'out of memory is 137, and leaves no failed scope' greedy
op 'run: ten at once' ten_at_once
op 'systemctl stop of the scope ends the container' stopped_by_systemd
op 'systemctl stop of the slice ends its containers' slice_stopped
restart_containerd
op 'restart of containerd: the container runs on' still_there
op 'task kill, task rm: scope and cgroup are gone' removed one
op 'no scope is left' await no_scope
