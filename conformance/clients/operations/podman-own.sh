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
mapped() { says ' 100000 ' once --uidmap 0:100000:65536 "$B" cat /proc/self/uid_map; }
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
    detached --annotation org.example.color=red --name cx "$B" true
    inspect cx '{{.Config.Annotations}}'
    remove cx
}
preserved() { says kept bash -c "exec 3< <(echo kept); ${TOOL[*]} run --rm ${PARENT[*]} --preserve-fds 1 $B cat /proc/self/fd/3"; }
timed_out() { refuses once --stop-timeout 1 --timeout 1 "$B" sleep 100; }
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
op 'run --read-only-tmpfs' once --read-only --read-only-tmpfs "$B" touch /run/x
op 'run --tz' says -05 once --tz Etc/GMT+5 "$B" date +%z
op 'run --systemd always' says /run/lock once --systemd always "$B" grep ' /run/lock ' /proc/mounts
op 'run --security-opt mask' says 0 once --security-opt mask=/data/file "$B" sh -c 'wc -c </data/file'
op 'run --security-opt unmask' once --security-opt unmask=ALL "$B" sh -c '[ "$(ls /proc/scsi 2>&1 | wc -l)" -ge 0 ]'
op 'run --annotation' says red inspect_annotation
op 'info names the runtime' says "$NAME" tool info --format '{{.Host.OCIRuntime.Name}}'
op 'mount and umount' mounted_rootfs
op 'rm --force of one that others need' dependent
op 'checkpoint and restore' checkpointed
op 'checkpoint --keep --leave-running is a copy' left_running
op 'checkpoint --export, restore --import' exported_checkpoint
op 'a runtime called runc' by_name runc
op 'a runtime called davit' by_name davit
op 'events' says died tool events --stream=false --filter type=container --since 1h
op 'container prune' tool container prune --force
