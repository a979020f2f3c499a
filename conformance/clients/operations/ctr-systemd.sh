# containerd with systemd as the driver of its cgroups: ctr, and the CRI as Kubernetes has it with
# cgroup v2. Needs the machine's own systemd; see host.sh.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/systemd.sh"
. "$OPERATIONS/containerd.sh"
. "$OPERATIONS/cri-call.sh"
. "$OPERATIONS/cri-daemon.sh"
SLICE=$ID.slice
cri_config 's/SystemdCgroup = false/SystemdCgroup = true/' >"$DIR/config.toml"
start_containerd

# A cgroup's file, whatever systemd says.
cgroup_file() { cat "/sys/fs/cgroup$(property "$1" ControlGroup)/$2"; }
is_in_scope() { # PID UNIT
    says "$(property "$2" ControlGroup)" cat "/proc/$1/cgroup"
}

. "$OPERATIONS/systemd-scope.sh"
. "$OPERATIONS/systemd-pod.sh"
