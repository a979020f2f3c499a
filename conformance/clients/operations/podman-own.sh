# What podman has beyond Docker. Sourced by podman.sh and podman-rootless.sh.
healthy() {
    sleeper cx --health-cmd 'test -e /tmp/well' --health-interval disable --health-retries 1
    tool exec cx touch /tmp/well
    tool healthcheck run cx
    says healthy inspect cx '{{.State.Health.Status}}'
    tool exec cx rm /tmp/well
    refuses tool healthcheck run cx
    says unhealthy inspect cx '{{.State.Health.Status}}'
    remove cx
}
mapped() { # groups as users, where nobody says otherwise
    prints $'0 100000 65536\n0 100000 65536' once --uidmap 0:100000:65536 "$B" awk '{ $1 = $1 } 1' /proc/self/uid_map /proc/self/gid_map
}
mounted_rootfs() {
    sleeper cx
    [ -x "$(tool mount cx)/bin/busybox" ]
    tool umount cx
    remove cx
}
checkpointed() {
    needs_criu
    sleeper cx --network none
    tool container checkpoint "$@" cx
    status_is cx exited
    tool container restore cx
    status_is cx running
    tool exec cx true
    remove cx
}
exported_checkpoint() {
    needs_criu
    sleeper cx --network none
    tool container checkpoint --export "$SHARED/x.tar.gz" cx
    remove cx
    tool container restore --import "$SHARED/x.tar.gz" --name cy
    tool exec cy true
    remove cy
}
left_running() {
    needs_criu
    sleeper cx --network none
    tool container checkpoint --keep --leave-running cx
    status_is cx running
    remove cx
}
inspect_annotation() {
    sleeper cx --annotation org.example.color=red
    inspect cx '{{.Config.Annotations}}' # which is what podman knows, and then the runtime
    "${RUNTIME_OF[@]}" state "$(inspect cx '{{.Id}}')" | jq -e '.annotations["org.example.color"] == "red"'
    remove cx
}
unmasked() {
    unprotected once --security-opt unmask=ALL "$B"
    protected once "$B"
}
masked_more() {
    prints 0 once --security-opt mask=/data/file "$B" sh -c 'wc -c </data/file'
    protected once --security-opt mask=/data/file "$B"
}
with_tmpfs() {
    once --read-only --read-only-tmpfs "$B" touch /run/x /tmp/x /var/tmp/x
    complains 'Read-only' once --read-only --read-only-tmpfs "$B" touch /x
    complains 'Read-only' once --read-only --read-only-tmpfs=false "$B" touch /run/x
}
hooked() { # at the events of the runtime's, with what it says of the container on their input
    local event id
    mkdir -p "$SHARED/hooks"
    printf '#!/bin/sh\ncat >"%s/$1"\n' "$SHARED" >"$SHARED/hook"
    chmod 755 "$SHARED/hook"
    for event in prestart poststart; do
        printf '{ "version": "1.0.0", "hook": { "path": "%s", "args": ["hook", "%s"] }, "when": { "always": true }, "stages": ["%s"] }' \
            "$SHARED/hook" "$event" "$event" >"$SHARED/hooks/$event.json"
        rm -f "$SHARED/$event"
    done
    tool --hooks-dir "$SHARED/hooks" run --detach --name cx "${PARENT[@]}" "$B" sleep 600
    id=$(inspect cx '{{.Id}}')
    for event in prestart poststart; do jq -e --arg id "$id" '.id == $id' "$SHARED/$event"; done
    remove cx
}
updated_more() {
    sleeper cx
    tool update --cpu-shares 512 --cpuset-cpus 0 cx
    is_half cgroup_of "$(pid_of cx)" cpu/cpu.shares cpu.weight
    prints 0 cgroup_of "$(pid_of cx)" cpuset/cpuset.cpus cpuset.cpus
    remove cx
}
preserved() { says kept bash -c "exec 3< <(echo kept); ${TOOL[*]} run --rm ${PARENT[*]} --preserve-fds 1 $B cat /proc/self/fd/3"; }
timed_out() {
    local start=$SECONDS
    exits 255 once --stop-timeout 1 --timeout 1 "$B" sleep 100
    [ $((SECONDS - start)) -lt 50 ]
}
dependent() {
    sleeper cx
    sleeper cy --network container:cx
    complains 'dependent containers' tool rm --force cx
    tool rm "${FORCE[@]}" --depend cx
}
by_name() { # the base name decides how podman talks to it
    mkdir -p "$SHARED/named"
    cp "$RUNTIME" "$SHARED/named/$1"
    chmod 755 "$SHARED/named/$1"
    says seen tool --runtime "$SHARED/named/$1" run --rm "${PARENT[@]}" "$B" echo seen
    exits 127 tool --runtime "$SHARED/named/$1" run --rm "${PARENT[@]}" "$B" nosuchprogram
}

op 'healthcheck run' healthy
op 'run --uidmap' mapped
op 'run --rootfs' says seen once --rootfs "$DIR/image" echo seen
op 'run --preserve-fds' preserved
op 'run --timeout' timed_out
op 'run --read-only-tmpfs' with_tmpfs
op 'run --umask' prints 0027 once --umask 0027 "$B" sh -c umask
op 'run --hooks-dir' hooked
op 'run --tz' prints -0500 once --tz Etc/GMT+5 "$B" date +%z
op 'run --systemd always' says /run/lock once --systemd always "$B" grep ' /run/lock ' /proc/mounts
op 'run --security-opt mask' masked_more
op 'run --security-opt unmask' unmasked
op 'run --annotation' says red inspect_annotation
op 'update --cpu-shares, --cpuset-cpus' updated_more
op 'info names the runtime' says "$NAME" tool info --format '{{.Host.OCIRuntime.Name}}'
op 'mount and umount' mounted_rootfs
op 'rm --force of one that others need' dependent
op 'checkpoint and restore' checkpointed
op 'checkpoint --keep --leave-running is a copy' left_running
op 'checkpoint --export, restore --import' exported_checkpoint
op 'a runtime called runc' by_name runc
op 'a runtime called davit' by_name davit
op 'events' says died tool events --stream=false --filter type=container --since 1h
op 'container prune' pruned
