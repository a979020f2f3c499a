# A container is a scope of systemd under podman and Docker, root's or a user's. Sourced by the
# files of *-systemd, which set SCOPE: it stands before the ID of a container in the name of its scope.
scope_of() { echo "$SCOPE$(inspect "$1" '{{.Id}}').scope"; }
# Of the container's own cgroup, which may be below the scope's.
group_file() { cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(inspect "$1" '{{.State.Pid}}')/cgroup")/$2"; }
gone_with_scope() {
    local scope
    scope=$(scope_of "$1")
    remove "$1"
    await is_forgotten "$scope"
}

scoped() {
    local scope
    sleeper one
    scope=$(scope_of one)
    holds active "$scope" ActiveState
    holds "$SLICE" "$scope" Slice
    holds yes "$scope" Delegate
    says "$(property "$scope" ControlGroup)" cat "/proc/$(inspect one '{{.State.Pid}}')/cgroup"
    says 'sleep 600' "${UNITS[@]}" status --no-pager "$scope"
}
exec_in_scope() {
    tool exec --detach one sleep 500
    await says 'sleep 500' "${UNITS[@]}" status --no-pager "$(scope_of one)"
}
limits() {
    sleeper cx --memory 64m --pids-limit 77 --cpus 0.5 --cpuset-cpus 0 --cpu-shares 512
    limits_hold
    "${UNITS[@]}" daemon-reload
    limits_hold
    gone_with_scope cx
}
limits_hold() {
    local scope
    scope=$(scope_of cx)
    holds 67108864 "$scope" MemoryMax
    holds 77 "$scope" TasksMax
    holds 500ms "$scope" CPUQuotaPerSecUSec
    holds 0 "$scope" AllowedCPUs
    holds "$(group_file cx cpu.weight)" "$scope" CPUWeight
    [ "$(group_file cx cpu.weight)" != 100 ]
    says 67108864 group_file cx memory.max
    says 77 group_file cx pids.max
    says '50000 100000' group_file cx cpu.max
    says 0 group_file cx cpuset.cpus
}
update_of_scope() {
    local try
    sleeper cx --memory 64m
    tool update --memory 96m --memory-swap 192m --cpus 0.25 cx
    for try in before after; do
        holds 100663296 "$(scope_of cx)" MemoryMax
        holds 250ms "$(scope_of cx)" CPUQuotaPerSecUSec
        says 100663296 group_file cx memory.max
        says '25000 100000' group_file cx cpu.max
        [ "$try" = after ] || "${UNITS[@]}" daemon-reload
    done
    gone_with_scope cx
}
paused_over_reload() {
    tool pause one
    "${UNITS[@]}" daemon-reload
    status_is one paused
    tool unpause one
    says inside tool exec one echo inside
}
fuse_opens() { says opened tool exec "$1" sh -c 'exec 3<>/dev/fuse && echo opened'; }
# Misc device 200 is tun, which nobody was given.
tun_is_denied() { complains 'not permitted' tool exec "$1" sh -c '[ -e /tmp/tun ] || mknod /tmp/tun c 10 200; exec 3<>/tmp/tun'; }
devices() {
    local try
    modprobe -a tun fuse
    bash -c 'exec 3<>/dev/net/tun' # so it is the cgroup that denies it
    sleeper cx --cap-add MKNOD --device /dev/fuse
    for try in before after updated; do
        fuse_opens cx
        tun_is_denied cx
        case $try in
        before) "${UNITS[@]}" daemon-reload ;;
        after) tool update --memory 96m --memory-swap 192m cx ;;
        esac
    done
    gone_with_scope cx
}
privileged() { # may open what nobody named, then as later
    local try
    sleeper cx --privileged
    for try in before after; do
        says opened tool exec cx sh -c '[ -e /tmp/tun ] || mknod /tmp/tun c 10 200; exec 3<>/tmp/tun && echo opened'
        [ "$try" = after ] || "${UNITS[@]}" daemon-reload
    done
    gone_with_scope cx
}
stopped_by_systemd() {
    local scope
    sleeper cx
    scope=$(scope_of cx)
    "${UNITS[@]}" stop "$scope"
    await status_is cx exited
    remove cx
    await is_forgotten "$scope"
}
# systemd removes an empty scope at once, and with it the count that tells engines of OOMKilled.
killed_for_memory() {
    local scope
    detached --name cx --memory 32m --memory-swap 32m "$B" sh -c 'x=a; while :; do x=$x$x; done'
    scope=$(scope_of cx)
    await status_is cx exited
    says 137 inspect cx '{{.State.ExitCode}}'
    await is_forgotten "$scope"
    remove cx
}
failed_start() {
    detached --name cx "$B" /no/such/program || true
    await is_forgotten "$(scope_of cx)"
    remove cx
}
unit_again() { # a scope of the same name, after a stop
    sleeper cx
    tool restart --time 0 cx
    holds active "$(scope_of cx)" ActiveState
    gone_with_scope cx
}
no_unit() {
    local left
    left=$("${UNITS[@]}" list-units --all --plain --no-legend "$SCOPE*" '*libpod_pod*')
    [ -z "$left" ] || { echo "$left"; return 1; }
}

op 'run: a scope in the slice' scoped
op 'exec: in the scope' exec_in_scope
op 'limits: properties that daemon-reload keeps' limits
op 'update: properties that daemon-reload keeps' update_of_scope
op 'stats' says "$(inspect one '{{.Id}}' | cut -c 1-12)" tool stats --no-stream one
op 'pause, daemon-reload, unpause' paused_over_reload
op 'restart: a scope of the same name' unit_again
op 'out of memory is 137, and leaves no failed scope' killed_for_memory
op 'a program that is missing leaves no scope' failed_start
op 'systemctl stop of the scope ends the container' stopped_by_systemd
if [ "${ROOTLESS:-}" = '' ]; then
    op 'run --device: over daemon-reload and update it opens, and another is denied' devices
    op 'run --privileged: every device, over daemon-reload' privileged
fi
op 'rm: scope and cgroup are gone' gone_with_scope one
