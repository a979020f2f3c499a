#!/bin/bash
# Boots a system container: a Debian with systemd as its PID 1, in a user and a cgroup namespace of
# its own, below a scope of the machine's systemd. usage: system-container.sh RUNTIME ROOTFS
#
# ROOTFS is a directory or a tar archive, made for example by
#     mmdebstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm debian.tar
# or, of what the machine has installed, by system-root.sh. Needs root, systemd and cgroup v2; jq.
set -euo pipefail
runtime=$1 rootfs=$2
id=system-container-$$
# Ids of the container's root and of the 65535 after it, on this machine.
first=${FIRST_ID:-1000000}
work=$(mktemp -d /var/tmp/system-container.XXXXXX)
davit() { "$runtime" --root "$work/state" "$@"; }
cleanup() {
    davit delete --force "$id" || true
    rm -rf --one-file-system -- "$work"
}
trap cleanup EXIT

echo "== unpacking $rootfs"
mkdir "$work/rootfs"
if [[ -d $rootfs ]]; then
    cp -a -- "$rootfs/." "$work/rootfs"
else
    tar -C "$work/rootfs" --numeric-owner -xpf "$rootfs"
fi
: >"$work/rootfs/etc/machine-id" # the system writes one
# Whoever owns a file inside owns it under another number outside. chown takes set-id bits away.
find "$work/rootfs" -xdev -perm /7000 ! -type l -printf '%m %p\0' >"$work/modes"
find "$work/rootfs" -xdev -printf '%U %G\n' | sort -u | while read -r uid gid; do
    find "$work/rootfs" -xdev -uid "$uid" -gid "$gid" \
        -exec chown -h "$((first + uid)):$((first + gid))" {} +
done
while IFS=' ' read -r -d '' mode path; do chmod "$mode" "$path"; done <"$work/modes"
chmod 755 "$work"

echo "== config.json"
(cd "$work" && davit spec)
jq --argjson first "$first" '
    def mount($to; $type; $options):
        {destination: $to, type: $type, source: $type, options: $options};
    .process.terminal = false
    | .process.args = ["/sbin/init"]
    | .process.env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=oci"]
    | .process.noNewPrivileges = false
    | .process.capabilities |= with_entries(.value = [
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID",
        "IPC_OWNER", "KILL", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_NICE",
        "SYS_PTRACE", "SYS_RESOURCE", "SYS_TTY_CONFIG" | "CAP_" + .])
    | .process.rlimits = []
    | .root.readonly = false
    | .hostname = "system-container"
    | .mounts |= map(select(.destination != "/sys/fs/cgroup"))
    | .mounts += [
        mount("/sys/fs/cgroup"; "cgroup"; ["rw", "nosuid", "nodev", "noexec"]),
        mount("/run"; "tmpfs"; ["nosuid", "nodev", "mode=755"]),
        mount("/run/lock"; "tmpfs"; ["nosuid", "nodev", "noexec", "mode=1777"]),
        mount("/tmp"; "tmpfs"; ["nosuid", "nodev", "mode=1777"])]
    | .linux.namespaces = (["pid", "network", "ipc", "uts", "mount", "cgroup", "user"]
        | map({type: .}))
    | .linux.uidMappings = [{containerID: 0, hostID: $first, size: 65536}]
    | .linux.gidMappings = .linux.uidMappings
    | .linux.cgroupsPath = "machine.slice:davit:system"
    | .linux.maskedPaths = [] | .linux.readonlyPaths = []
    ' "$work/config.json" >"$work/new" && mv "$work/new" "$work/config.json"

echo "== boot"
davit --systemd-cgroup run --detach --bundle "$work" "$id" </dev/null >"$work/console" 2>&1 || {
    cat "$work/console"
    exit 1
}
state=
for _ in $(seq "${PATIENCE:-120}"); do
    state=$(davit exec "$id" systemctl is-system-running 2>/dev/null || true)
    case $state in running | degraded) break ;; esac
    sleep 1
done
echo "system is: $state"
davit exec "$id" systemctl --no-pager --failed || true
failed=$(davit exec "$id" systemctl --no-pager --no-legend --plain --failed | cut -d' ' -f1)
for unit in $failed; do davit exec "$id" journalctl --no-pager --lines 5 --unit "$unit" || true; done
davit exec "$id" systemctl --no-pager status multi-user.target || true
davit exec "$id" cat /proc/1/cgroup /proc/1/uid_map
active=$(davit exec "$id" systemctl is-active multi-user.target || true)
systemd-cgls --no-pager /machine.slice || true

echo "== shutdown"
davit kill "$id" 37 # SIGRTMIN+3, whose name not every runtime knows
for _ in $(seq 60); do
    [[ $(davit state "$id" | jq -r .status) != stopped ]] || break
    sleep 1
done
davit state "$id" | jq -r '"status: " + .status'
davit delete "$id"
[[ ! -e /sys/fs/cgroup/machine.slice/davit-system.scope ]] || { echo "its cgroup is left"; exit 1; }
[[ $active == active ]] || { echo "multi-user.target is $active"; cat "$work/console"; exit 1; }
[[ $state == running ]] || { echo "the system is $state:" $failed; exit 1; }
echo "booted to multi-user, and gone"
