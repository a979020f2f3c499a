# containerd with systemd as the driver of its cgroups: ctr, and the CRI as Kubernetes has it with
# cgroup v2. Needs the machine's own systemd; see host.sh.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
if [ -z "$SYSTEMD" ]; then
    op 'all operations' missing 'systemd as PID 1'
    exit
fi
. "$OPERATIONS/cri-call.sh"
. "$OPERATIONS/cri-daemon.sh"
version "$(systemctl --version | head -n 1)"
SLICE=$ID.slice
cri_config 's/SystemdCgroup = false/SystemdCgroup = true/' >"$DIR/config.toml"
start_containerd

# property UNIT NAME: of systemd, and not of the cgroup. holds VALUE UNIT NAME.
property() { systemctl show --value --property "$2" "$1"; }
holds() {
    local value
    value=$(property "$2" "$3")
    [ "$value" = "$1" ] || { echo "$3 of $2 is ${value@Q}, not ${1@Q}"; return 1; }
}
is_forgotten() {
    holds not-found "$1" LoadState
    [ -z "$(find /sys/fs/cgroup -path "*$1")" ] || { echo "the cgroup of $1 is there"; return 1; }
}
# A cgroup's file, whatever systemd says.
cgroup_file() { cat "/sys/fs/cgroup$(property "$1" ControlGroup)/$2"; }
is_in_scope() { # PID UNIT
    says "$(property "$2" ControlGroup)" cat "/proc/$1/cgroup"
}

. "$OPERATIONS/systemd-scope.sh"
. "$OPERATIONS/systemd-pod.sh"
