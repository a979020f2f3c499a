# podman as root, with the machine's own systemd as its cgroup manager; see host.sh.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/systemd.sh"
MANAGER=systemd
. "$OPERATIONS/podman-host.sh"
SLICE=$ID.slice PARENT=(--cgroup-parent "$ID.slice") SCOPE=libpod-
FORCE=(--force --time 0) TOOL=(podman) NETWORK=podman SHARED=$DIR/home
BRIDGES='(cni-podman|ours|podman)[0-9]*'
tool() { bounded podman "$@"; }
. "$OPERATIONS/engine.sh"
version "$(podman --version)"
STATE=(/var/lib/cni/networks /run/runc /run/davit)

pod_limits() { # the slice of a pod, and what is in it
    local slice
    tool pod create --name p --memory 128m --cpus 0.5 "${PARENT[@]}"
    tool run --detach --pod p --name cx --memory 64m "$B" sleep 600
    slice=$(property "$(scope_of cx)" Slice)
    echo "$slice" >"$DIR/slice"
    case $slice in "$ID-libpod_pod_"*) ;; *) echo "in $slice"; return 1 ;; esac
    holds 67108864 "$(scope_of cx)" MemoryMax
    says 134217728 cat "/sys/fs/cgroup$(property "$slice" ControlGroup)/memory.max"
    tool pod rm --force --time 0 p
}
pod_gone() { await is_forgotten "$(cat "$DIR/slice")"; }
# A Debian of this machine's own packages, of which the private host tells nothing.
system_image() {
    nsenter --target 1 --mount bash "$HERE/system-root.sh" "$DIR/system.tar"
    PATIENCE=900 tool import "$DIR/system.tar" localhost/system:latest # a whole Debian, slowly emulated
}
system_boots() {
    run --detach --name cx --systemd always --network none localhost/system:latest /sbin/init
    await system_is_up cx
    says running tool exec cx systemctl is-system-running || {
        tool exec cx systemctl list-units --failed --plain --no-legend
        return 1
    }
    says active tool exec cx systemctl is-active multi-user.target
    tool stop --time "$PATIENCE" cx
    says exited inspect cx '{{.State.Status}}'
    gone_with_scope cx
}
system_is_up() { # one way or the other
    case $(tool exec "$1" systemctl is-system-running) in running* | degraded*) ;; *) return 1 ;; esac
}

op 'import' import_image
once --publish 18080:80 "$B" true # so that what the first use makes is there
remember "${STATE[@]}"
. "$OPERATIONS/engine-systemd.sh"
. "$OPERATIONS/podman-pod.sh"
op 'pod create --memory: its slice, and scopes in it' pod_limits
op 'pod rm: the slice is gone' pod_gone
op 'import of a Debian' system_image
op 'run --systemd: a Debian boots to running, and stops' system_boots
op 'nothing is left: units' await no_unit
op 'nothing is left: links, rules, mounts, cgroups, addresses, states' nothing_new "${STATE[@]}"
. "$OPERATIONS/podman-end.sh"
