# containerd itself, with a container running. Sourced by ctr.sh.
survives() {
    status_is survivor RUNNING
    says inside execs survivor echo inside
}
# ctr container create knows no --runc-binary.
create_then_start() {
    tool container create "$IMAGE" two sleep 100
    tool task start --detach two
    status_is two RUNNING
    remove two
}

op 'run before a restart' run --detach "$IMAGE" survivor sleep 600
restart_containerd
op 'restart of containerd: the container runs on' survives
kill -KILL "$DAEMON"
wait "$DAEMON"
start_containerd
op 'containerd killed: the container runs on' survives
op 'kill and delete after the restarts' remove survivor

op 'run with the runtime as the runc of PATH' says seen tool run --rm --cgroup "/$ID/by-name" "$IMAGE" r echo seen
op 'container create, task start' create_then_start
