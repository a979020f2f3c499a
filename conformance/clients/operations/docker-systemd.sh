# Docker Engine with native.cgroupdriver=systemd, the machine's own; see host.sh.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/systemd.sh"
MANAGER=systemd
. "$OPERATIONS/docker-host.sh"
SLICE=$ID.slice PARENT=(--cgroup-parent "$ID.slice") SCOPE=docker-
FORCE=(--force) TOOL=(docker) NETWORK=bridge SHARED=$DIR/home
tool() { bounded docker "$@"; }
. "$OPERATIONS/engine.sh"
STATE=("$DIR/exec/runtime-runc/moby" "$DIR/exec/containerd/daemon/io.containerd.runtime.v2.task/moby")
version "$(docker --version)"

devices_over_restart() { # of dockerd, and then of systemd itself
    systemctl daemon-reexec
    await holds active "$(scope_of cx)" ActiveState
    fuse_opens cx
    tun_is_denied cx
    gone_with_scope cx
}
restart_policy() {
    detached --restart on-failure:2 --name cx "$B" sh -c 'echo again; exit 1'
    await restarted_twice
    gone_with_scope cx
}
restarted_twice() { status_is cx exited && says 2 inspect cx '{{.RestartCount}}'; }
always() { # systemd ends the scope, the engine starts it again
    local before
    sleeper cx --restart always
    before=$(inspect cx '{{.State.Pid}}')
    systemctl stop "$(scope_of cx)"
    await started_again cx "$before"
    holds active "$(scope_of cx)" ActiveState
    gone_with_scope cx
}
started_again() { status_is "$1" running && [ "$(inspect "$1" '{{.State.Pid}}')" != "$2" ]; }

op 'info names systemd as the driver' says systemd tool info --format '{{.CgroupDriver}}'
op 'import' import_image
once --publish 18080:80 "$B" true
once --network host "$B" true
restart_docker TERM
remember "${STATE[@]}"
. "$OPERATIONS/engine-systemd.sh"
op 'restart policy on-failure' restart_policy
op 'restart policy always: after systemctl stop of the scope' always
op 'run --device, before restarts' sleeper cx --cap-add MKNOD --device /dev/fuse
restart_docker TERM
op 'a device, over a restart of dockerd and daemon-reexec' devices_over_restart
op 'nothing is left: units' await no_unit
op 'nothing is left: links, rules, mounts, cgroups, states' await nothing_new "${STATE[@]}"
