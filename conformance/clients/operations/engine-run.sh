# podman run and docker run: what a container gets. Sourced.
cap_bit() { # BIT OPTION...
    local bit=$1 caps
    shift
    caps=$(once "$@" "$B" grep CapEff /proc/self/status) || return
    echo "CapEff $caps"
    (((0x${caps##*[[:space:]]} >> bit) & 1))
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
    tool volume rm keeps
}
copied_up() {
    says from-the-image once --volume copied:/data "$B" cat /data/file
    tool volume rm copied
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
masked() {
    says tmpfs once "$B" grep -E ' /proc/(scsi|acpi|firmware|keys|timer_list) ' /proc/mounts
    complains 'Read-only' once "$B" sh -c 'echo x >/proc/sys/kernel/domainname'
}
ruled() {
    once --cap-add MKNOD --device-cgroup-rule 'c 10:229 rwm' "$B" sh -c 'mknod /f c 10 229 && : </f'
}
same_network() { [ "$(once --network host "$B" readlink /proc/self/ns/net)" = "$(readlink /proc/self/ns/net)" ]; }
limit_of() { # V1FILE V2FILE OPTION...: the file of the container's own cgroup
    once "${@:3}" "$B" sh -c "cat /sys/fs/cgroup/$1 2>/dev/null || cat /sys/fs/cgroup/$2"
}

op 'run' says seen once "$B" echo seen
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
op 'run --user: numbers' says 'uid=1234' once --user 1234:4321 "$B" id
op 'run --user: a name, its groups' says '1002' once --user somebody "$B" id -G
op 'run --group-add' says 777 once --group-add 777 "$B" id -G
op 'run --read-only' complains 'Read-only file system' once --read-only "$B" touch /x
op 'run --volume: a directory, to read and to write' mounted
op 'run --volume: read-only' complains 'Read-only' once --volume "$SHARED:/mnt:ro" "$B" touch /mnt/x
op 'run --volume: by name' named_volume
op 'run --volume: gets what the image has there' copied_up
op 'run --mount type=bind' once --mount "type=bind,source=$SHARED,target=/mnt" "$B" ls /mnt
op 'run --tmpfs' says 'size=1024k' once --tmpfs /mnt:size=1m "$B" grep ' /mnt ' /proc/mounts
op 'run --shm-size' says 'size=2048k' once --shm-size 2m "$B" grep ' /dev/shm ' /proc/mounts
op 'run --cap-add' cap_bit 12 --cap-add NET_ADMIN
op 'run --cap-drop' refuses cap_bit 0 --cap-drop CHOWN
op 'run --cap-drop ALL' says 'CapEff:	0000000000000000' once --cap-drop ALL "$B" grep CapEff /proc/self/status
op 'run: seccomp by default' says 'Seccomp:	2' once "$B" grep Seccomp: /proc/self/status
op 'run --security-opt seccomp=unconfined' says 'Seccomp:	0' once --security-opt seccomp=unconfined "$B" grep Seccomp: /proc/self/status
op 'run --security-opt seccomp=FILE' own_profile
op 'run --security-opt no-new-privileges' says 'NoNewPrivs:	1' once --security-opt no-new-privileges "$B" grep NoNewPrivs /proc/self/status
op 'run: parts of /proc are masked, /proc/sys is read-only' masked
op 'run --privileged' cap_bit 21 --privileged
op 'run --device' says crw once --device /dev/fuse "$B" ls -l /dev/fuse
op 'run: a device that is not given' complains 'not permitted' once --cap-add MKNOD "$B" sh -c 'mknod /f c 10 229 && cat /f'
op 'run --device-cgroup-rule' ruled
op 'run --ulimit' says 1000 once --ulimit nofile=1000:1000 --ulimit nproc=500:500 "$B" sh -c 'ulimit -n'
op 'run --sysctl' says 1 once --sysctl net.ipv4.ip_forward=1 "$B" cat /proc/sys/net/ipv4/ip_forward
op 'run --hostname' says myname once --hostname myname "$B" hostname
op 'run --add-host' says '192.0.2.7' once --add-host far:192.0.2.7 "$B" grep far /etc/hosts
op 'run --dns, --dns-search' says '192.0.2.53' once --dns 192.0.2.53 --dns-search example.org "$B" cat /etc/resolv.conf
op 'run --memory' says 67108864 limit_of memory/memory.limit_in_bytes memory.max --memory 64m
op 'run --cpus' says 50000 limit_of cpu/cpu.cfs_quota_us cpu.max --cpus 0.5
op 'run --pids-limit' says 77 limit_of pids/pids.max pids.max --pids-limit 77
op 'run --cpuset-cpus' says 0 limit_of cpuset/cpuset.cpus cpuset.cpus --cpuset-cpus 0
op 'run: out of memory is 137' memory_killed
op 'run --init' as_init
op 'run --pid host' once --pid host "$B" sh -c '[ $$ != 1 ]'
op 'run --ipc host' once --ipc host "$B" true
op 'run --uts host' says "$(hostname)" once --uts host "$B" hostname
op 'run --network none' says lo once --network none "$B" ip -o link
op 'run --network host' same_network
op 'run --cgroupns private' once --cgroupns private "$B" cat /proc/self/cgroup
op 'run --cidfile' with_cidfile
op 'run: ten at once' ten_at_once
