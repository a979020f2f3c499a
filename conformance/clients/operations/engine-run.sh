# podman run and docker run: what a container gets. Sourced.
dropped() {
    incapable 0 once --cap-drop CHOWN "$B"
    capable 3 once --cap-drop CHOWN "$B"
}
all_powers() {
    capable 21 once --privileged "$B"
    unprotected once --privileged "$B"
    says '/sys sysfs rw' once --privileged "$B" grep ' /sys ' /proc/mounts
    prints $'Seccomp:\t0' once --privileged "$B" grep Seccomp: /proc/self/status
    once --privileged "$B" sh -c '[ ! -e /dev/fuse ] || : <>/dev/fuse'
}
from_stdin() { { sleep 1; echo piped; } | once --interactive "$B" cat; }
mounted() {
    echo given >"$SHARED/given"
    says given once --volume "$SHARED:/mnt" "$B" sh -c 'cat /mnt/given; echo back >/mnt/back'
    says back cat "$SHARED/back"
}
named_volume() {
    tool volume create keeps
    once --volume keeps:/mnt "$B" sh -c 'echo kept >/mnt/f'
    says kept once --volume keeps:/mnt:ro "$B" cat /mnt/f
    complains 'Read-only' once --volume keeps:/mnt:ro "$B" touch /mnt/f
    tool volume rm keeps
}
copied_up() {
    once --volume copied:/data "$B" sh -c 'echo changed >>/data/file'
    prints $'from-the-image\nchanged' once --volume copied:/data "$B" cat /data/file
    tool volume rm copied
}
bound() {
    echo given >"$SHARED/given"
    says given once --mount "type=bind,source=$SHARED,target=/mnt,readonly" "$B" cat /mnt/given
    complains 'Read-only' once --mount "type=bind,source=$SHARED,target=/mnt,readonly" "$B" touch /mnt/given
}
propagated() { # what is mounted later on the host arrives where that was asked for
    mkdir -p "$SHARED/later"
    ! mountpoint -q "$SHARED/later" || umount --recursive "$SHARED/later"
    mount -t tmpfs later "$SHARED/later"
    mount --make-shared "$SHARED/later"
    mkdir -p "$SHARED/later/below"
    sleeper cx --volume "$SHARED/later:/mnt:rslave" --volume "$SHARED/later:/media:rprivate"
    mount -t tmpfs below "$SHARED/later/below"
    says ' /mnt/below ' tool exec cx cat /proc/mounts
    says nowhere tool exec cx sh -c 'grep " /media/below " /proc/mounts || echo nowhere'
    remove cx
    umount --recursive "$SHARED/later"
}
temporary() {
    local said option
    said=$(said once --tmpfs /mnt:size=1m,mode=1770,noexec "$B" grep ' /mnt ' /proc/mounts)
    for option in size=1024k mode=1770 noexec nosuid nodev; do
        [[ $said = *"$option"* ]] || { echo "no $option: $said"; return 1; }
    done
}
name_taken() {
    sleeper cx
    complains 'already in use' sleeper cx
    remove cx
}
with_cidfile() {
    rm -f "$SHARED/cid"
    detached --cidfile "$SHARED/cid" --name cx "$B" sleep 100
    [ "$(cat "$SHARED/cid")" = "$(inspect cx '{{.Id}}')" ]
    remove cx
}
ten_at_once() {
    local i pids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do
        exits "$i" once "$B" sh -c "exit $i" & pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
}
memory_killed() {
    exits 137 run --name cx --memory 32m --memory-swap 32m "$B" sh -c 'x=a; while :; do x=$x$x; done'
    remove cx
}
own_profile() {
    echo '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}' >"$SHARED/seccomp.json"
    complains 'not permitted' once --security-opt "seccomp=$SHARED/seccomp.json" "$B" mkdir /x
}
as_init() { says 'init' once --init "$B" ps -o args; }
covered() {
    protected once "$B"
    complains 'Read-only' once "$B" sh -c 'echo x >/proc/sys/kernel/domainname'
}
with_device() { # one that opens, to read and to write
    says crw once --device /dev/fuse "$B" ls -l /dev/fuse
    once --device /dev/fuse "$B" sh -c ': <>/dev/fuse'
}
to_read_only() { # which a cgroup decides, or nobody
    [ "${TOOL[0]}" != as_user ] || missing 'a cgroup of devices for a user'
    once --device /dev/fuse:/f:r "$B" sh -c ': </f'
    complains '/f: Operation not permitted' once --device /dev/fuse:/f:r "$B" sh -c ': <>/f'
}
withheld() { # in a user namespace it cannot even be made
    if [ "${TOOL[0]}" = as_user ]; then
        complains 'mknod: /f: Operation not permitted' once --cap-add MKNOD "$B" mknod /f c 10 229
    else
        cannot_open once --cap-add MKNOD "$B"
    fi
}
with_limits() {
    prints $'1000 1010\n500 510' once --ulimit nofile=1000:1010 --ulimit nproc=500:510 "$B" \
        awk '/^Max (open files|processes)/ { n[$2] = $(NF - 2) " " $(NF - 1) } END { print n["open"]; print n["processes"] }' /proc/self/limits
}
resolves() {
    local said
    said=$(said once --dns 192.0.2.53 --dns-search example.org "$B" cat /etc/resolv.conf)
    [[ $said = *'nameserver 192.0.2.53'* && $said = *'search example.org'* ]] || { echo "$said"; return 1; }
}
alone() {
    prints 1 once --network none "$B" sh -c 'ip -o link | wc -l'
    apart once --network none "$B"
}
own_cgroups() { # in which its own is the root
    prints / once --cgroupns private "$B" sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'
    refuses joins cgroup once --cgroupns private "$B"
}
host_names() {
    joins uts once --uts host "$B"
    prints "$(hostname)" once --uts host "$B" hostname
}
in_parent() {
    [ "${#PARENT[@]}" != 0 ] || missing 'a parent for the cgroups of a user'
    sleeper cx
    says "/$ID/" cat "/proc/$(pid_of cx)/cgroup"
    remove cx
}
limit_of() { # V1FILE V2FILE OPTION...: the file of the container's own cgroup
    once "${@:3}" "$B" sh -c "cat /sys/fs/cgroup/$1 2>/dev/null || cat /sys/fs/cgroup/$2"
}

op 'run' says seen once "$B" echo seen
op 'run: namespaces of its own' apart once "$B"
op 'run --interactive: stdin' says piped from_stdin
op 'run: standard error' says complaint once "$B" sh -c 'echo complaint >&2'
op 'run: exit status' exits 42 once "$B" sh -c 'exit 42'
op 'run: an unknown option is 125' exits 125 tool run --no-such-option "$B"
op 'run: a file that is not executable is 126' exits 126 once "$B" /etc/passwd
op 'run: a program that is missing is 127' exits 127 once "$B" /no/such/program
op 'run: a name that is not in PATH is 127' exits 127 once "$B" nosuchprogram
op 'run --name: taken' name_taken
op 'run --tty' says /dev/ on_a_terminal "${TOOL[@]}" run --rm "${PARENT[@]}" --interactive --tty "$B" tty
op 'run --env' says 'A=b c' once --env 'A=b c' "$B" env
op 'run --workdir' says /tmp once --workdir /tmp "$B" pwd
op 'run --entrypoint' says entered once --entrypoint /bin/echo "$B" entered
op 'run --user: numbers' prints '1234 4321' once --user 1234:4321 "$B" sh -c 'echo $(id -u) $(id -g)'
op 'run --user: a name, its groups' prints '1000 1001 1002' once --user somebody "$B" sh -c 'echo $(id -u) $(id -G)'
op 'run --group-add' says 777 once --group-add 777 "$B" id -G
op 'run --read-only' complains 'Read-only file system' once --read-only "$B" touch /x
op 'run --volume: a directory, to read and to write' mounted
op 'run --volume: read-only' complains 'Read-only' once --volume "$SHARED:/mnt:ro" "$B" touch /mnt/x
op 'run --volume: by name' named_volume
op 'run --volume: gets what the image has there' copied_up
op 'run --volume: propagation' propagated
op 'run --mount type=bind' bound
op 'run --tmpfs' temporary
op 'run --shm-size' says 'size=2048k' once --shm-size 2m "$B" grep ' /dev/shm ' /proc/mounts
op 'run --cap-add' capable 12 once --cap-add NET_ADMIN "$B"
op 'run --cap-drop' dropped
op 'run --cap-drop ALL' no_capability once --cap-drop ALL "$B"
op 'run: seccomp by default' filtered once "$B"
op 'run --security-opt seccomp=unconfined' says 'Seccomp:	0' once --security-opt seccomp=unconfined "$B" grep Seccomp: /proc/self/status
op 'run --security-opt seccomp=FILE' own_profile
op 'run --security-opt no-new-privileges' says 'NoNewPrivs:	1' once --security-opt no-new-privileges "$B" grep NoNewPrivs /proc/self/status
op 'run: parts of /proc are masked, /proc/sys is read-only' covered
op 'run --privileged' all_powers
op 'run --device' with_device
op 'run --device: to read only' to_read_only
op 'run: a device that is not given' withheld
op 'run --device-cgroup-rule' opens once --cap-add MKNOD --device-cgroup-rule 'c 10:229 rwm' "$B"
op 'run --ulimit' with_limits
op 'run --oom-score-adj' prints 500 once --oom-score-adj 500 "$B" cat /proc/self/oom_score_adj
op 'run --sysctl' prints 77 once --sysctl net.ipv4.ip_default_ttl=77 "$B" cat /proc/sys/net/ipv4/ip_default_ttl
op 'run --hostname' prints myname once --hostname myname "$B" hostname
op 'run --add-host' says '192.0.2.7' once --add-host far:192.0.2.7 "$B" grep far /etc/hosts
op 'run --dns, --dns-search' resolves
op 'run --memory' prints 67108864 limit_of memory/memory.limit_in_bytes memory.max --memory 64m
op 'run --cpus' says 50000 limit_of cpu/cpu.cfs_quota_us cpu.max --cpus 0.5
op 'run --memory-reservation' prints 33554432 limit_of memory/memory.soft_limit_in_bytes memory.low --memory-reservation 32m
op 'run --cpu-shares' is_half limit_of cpu/cpu.shares cpu.weight --cpu-shares 512
op 'run --cpu-period' says 50000 limit_of cpu/cpu.cfs_period_us cpu.max --cpu-period 50000 --cpu-quota 20000
op 'run --pids-limit' prints 77 limit_of pids/pids.max pids.max --pids-limit 77
op 'run --cgroup-parent' in_parent
op 'run --cpuset-cpus' prints 0 limit_of cpuset/cpuset.cpus cpuset.cpus --cpuset-cpus 0
op 'run: out of memory is 137' memory_killed
op 'run --init' as_init
op 'run --pid host' joins pid once --pid host "$B"
op 'run --ipc host' joins ipc once --ipc host "$B"
op 'run --uts host' host_names
op 'run --network none' alone
op 'run --network host' joins net once --network host "$B"
op 'run --cgroupns private' own_cgroups
op 'run --cidfile' with_cidfile
op 'run: ten at once' ten_at_once
