# ctr run: what a container gets. Sourced by ctr.sh.
once() { run --rm "$@"; }
R=("$IMAGE" r)
of_its_own() { # what it gets if nobody says otherwise
    says seen once "${R[@]}" echo seen
    apart once "${R[@]}"
    protected once "${R[@]}"
}
all_powers() {
    capable 21 once --privileged "${R[@]}"
    unprotected once --privileged "${R[@]}"
    says '/sys sysfs rw' once --privileged "${R[@]}" grep ' /sys ' /proc/mounts
    opens once --privileged "${R[@]}"
}
dropped() {
    incapable 27 once --cap-drop CAP_MKNOD "${R[@]}"
    capable 0 once --cap-drop CAP_MKNOD "${R[@]}"
}
with_device() { # one that opens, to read and to write
    says crw once --device /dev/fuse "${R[@]}" ls -l /dev/fuse
    once --device /dev/fuse "${R[@]}" sh -c ': <>/dev/fuse'
}
mounted() {
    echo given >"$DIR/home/given"
    says given once --mount "type=bind,src=$DIR/home,dst=/m,options=rbind:rw" "${R[@]}" sh -c 'cat /m/given; echo back >/m/back'
    says back cat "$DIR/home/back"
}
killed_in_front() {
    { await status_is r RUNNING; tool task kill --signal SIGKILL r; } >/dev/null &
    exits 137 once "${R[@]}" sleep 100
}
limited() { # V1FILE V2FILE OPTION...
    local pid
    run -d "${@:3}" "$IMAGE" limited sleep 100
    pid=$(pid_of limited)
    grep -q ":.*/$ID/" "/proc/$pid/cgroup" || return
    cgroup_of "$pid" "$1" "$2"
    remove limited
}
shared_out() {
    says 20000 limited cpu/cpu.cfs_quota_us cpu.max "$@"
    says 50000 limited cpu/cpu.cfs_period_us cpu.max "$@"
    is_half limited cpu/cpu.shares cpu.weight "$@"
}
from_stdin() { { sleep 1; echo piped; } | once "${R[@]}" sh -c 'read line; echo "$line"'; }
twice() {
    run -d "$IMAGE" twice sleep 100
    complains 'already exists' run -d "$IMAGE" twice sleep 100
    remove twice
}
joined() {
    touch "/run/netns/joined"
    unshare --net="/run/netns/joined" ip link set lo up
    says LOOPBACK,UP once --with-ns "network:/run/netns/joined" "${R[@]}" ip -o link
    prints "net:[$(stat -c %i /run/netns/joined)]" once --with-ns "network:/run/netns/joined" "${R[@]}" readlink /proc/self/ns/net
    umount /run/netns/joined && rm /run/netns/joined
}
with_pid_file() {
    run -d --pid-file "$DIR/pid" "$IMAGE" pidfile sleep 100
    [ "$(cat "$DIR/pid")" = "$(pid_of pidfile)" ]
    prints sleep cat "/proc/$(cat "$DIR/pid")/comm"
    remove pidfile
}
mapped() {
    prints $'0 100000 65536\n0 100000 65536' once --uidmap 0:100000:65536 --gidmap 0:100000:65536 "${R[@]}" \
        awk '{ $1 = $1 } 1' /proc/self/uid_map /proc/self/gid_map
}
labelled() {
    run -d --label color=red --annotation org.example.a=b "$IMAGE" labelled sleep 100
    says '"color": "red"' tool container info labelled
    says '"org.example.a": "b"' tool container info labelled
    "$RUNTIME" --root "$DIR/runtime/$NAMESPACE" state labelled | jq -e '.annotations["org.example.a"] == "b"'
    remove labelled
}
logged() {
    run -d --log-uri "file://$DIR/said" "$IMAGE" logged sh -c 'echo out; echo err >&2'
    await status_is logged STOPPED
    says out cat "$DIR/said"
    says err cat "$DIR/said"
    remove logged
}
ten_at_once() {
    local i pids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do
        exits "$i" run --rm "$IMAGE" "many$i" sh -c "exit $i" & pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
}
from_a_directory() {
    mkdir -p "$DIR/rootfs/bin"
    cp /bin/busybox "$DIR/rootfs/bin/"
    says busybox once --rootfs "$DIR/rootfs" r /bin/busybox echo busybox
}
from_a_config() {
    from_a_directory
    mkdir -p "$DIR/spec"
    (cd "$DIR/spec" && rm -f config.json && "$RUNTIME" spec)
    jq --arg root "$DIR/rootfs" '.process.terminal = false | .root.path = $root | .hostname = "configured"
        | .process.args = ["/bin/busybox", "sh", "-c", "busybox hostname; ulimit -n"]
        | .process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 111, hard: 222 }]' \
        "$DIR/spec/config.json" >"$DIR/spec/new.json"
    prints $'configured\n111' tool run --rm --runc-binary "$RUNTIME" --config "$DIR/spec/new.json" configured
}

op 'run --rm' of_its_own
op 'run: stdin' says piped from_stdin
op 'run: standard error' says complaint once "${R[@]}" sh -c 'echo complaint >&2'
op 'run: exit status' exits 42 once "${R[@]}" sh -c 'exit 42'
op 'run: killed by a signal is 137' killed_in_front
op 'run: a program that is missing' complains 'stat /no/such/program: no such file or directory' once "${R[@]}" /no/such/program
op 'run: a name that is not in PATH' complains 'executable file not found in $PATH' once "${R[@]}" nosuchprogram
op 'run: a file that is not executable' complains 'permission denied' once "${R[@]}" /etc/passwd
op 'run: an ID that is taken' twice
op 'run --tty' says /dev/ on_a_terminal ctr --address "$SOCKET" -n "$NAMESPACE" run --rm --tty --runc-binary "$RUNTIME" --cgroup "/$ID/tty" "$IMAGE" r tty
op 'run --env' says 'A=b c' once --env 'A=b c' "${R[@]}" env
op 'run --cwd' says /tmp once --cwd /tmp "${R[@]}" pwd
op 'run --read-only' complains 'Read-only file system' once --read-only "${R[@]}" touch /x
op 'run --mount: a directory, to read and to write' mounted
op 'run --mount: read-only' complains 'Read-only' once --mount "type=bind,src=$DIR/home,dst=/m,options=rbind:ro" "${R[@]}" touch /m/x
op 'run --mount: tmpfs with a size' says 'size=1024k' once --mount type=tmpfs,src=tmpfs,dst=/m,options=size=1m "${R[@]}" grep ' /m ' /proc/mounts
op 'run --privileged' all_powers
op 'run --cap-add' capable 12 once --cap-add CAP_NET_ADMIN "${R[@]}"
op 'run --cap-drop' dropped
op 'run --seccomp' filtered once --seccomp "${R[@]}"
op 'run: no new privileges' says 'NoNewPrivs:	1' once "${R[@]}" grep NoNewPrivs /proc/self/status
op 'run --allow-new-privs' says 'NoNewPrivs:	0' once --allow-new-privs "${R[@]}" grep NoNewPrivs /proc/self/status
op 'run --device' with_device
op 'run: a device that is not given' cannot_open once "${R[@]}"
op 'run --memory-limit' prints 33554432 limited memory/memory.limit_in_bytes memory.max --memory-limit 33554432
op 'run --cpus' says 50000 limited cpu/cpu.cfs_quota_us cpu.max --cpus 0.5
op 'run --cpu-quota, --cpu-period, --cpu-shares' shared_out --cpu-quota 20000 --cpu-period 50000 --cpu-shares 512
op 'run --net-host' joins net once --net-host "${R[@]}"
op 'run --with-ns: a network namespace' joined
op 'run --pid-file' with_pid_file
op 'run --uidmap, --gidmap' mapped
op 'run --null-io' prints '' once --null-io "${R[@]}" echo unseen
op 'run --no-pivot' says seen once --no-pivot "${R[@]}" echo seen
op 'run --label, --annotation and info' labelled
op 'run --detach --log-uri' logged
op 'run: ten at once' ten_at_once
op 'run --rootfs: a directory' from_a_directory
op 'run --config: what the runtime'"'"'s spec wrote' from_a_config
