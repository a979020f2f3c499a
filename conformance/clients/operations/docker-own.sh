# What Docker has beyond podman. Sourced by docker.sh.
health_is() { [ "$(inspect "$1" '{{.State.Health.Status}}')" = "$2" ]; }
healthy() {
    sleeper cx --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1
    tool exec cx touch /tmp/well
    await health_is cx healthy
    tool exec cx rm /tmp/well
    await health_is cx unhealthy
    remove cx
}
always() { # the program is killed from outside, the engine starts it again
    local before
    sleeper cx --restart always
    before=$(pid_of cx)
    kill -KILL "$before"
    await started_again cx "$before"
    remove cx
}
started_again() { status_is "$1" running && [ "$(pid_of "$1")" != "$2" ]; }
compose() { # two containers that find each other by name, one with a volume
    tool network create app
    tool volume create www
    once --volume www:/www "$B" sh -c 'echo composed >/www/page'
    detached --name db --network app --volume www:/www:ro "$B" httpd -f -p 80 -h /www
    await once --network app "$B" wget -q -O - http://db/page
    says composed once --network app "$B" wget -q -O - http://db/page
    remove db
    tool network rm app
    tool volume rm www
}
checkpointed() {
    needs_criu
    sleeper cx --network none --security-opt seccomp=unconfined
    tool checkpoint create cx one
    await status_is cx exited
    tool start --checkpoint one cx
    status_is cx running
    tool exec cx true
    remove cx
}
left_running() {
    needs_criu
    sleeper cx --network none --security-opt seccomp=unconfined
    tool checkpoint create --leave-running cx two
    status_is cx running
    says two tool checkpoint ls cx
    remove cx
}
updated_more() {
    sleeper cx
    tool update --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 cx
    prints 50 cgroup_of "$(pid_of cx)" pids/pids.max pids.max
    says 50000 cgroup_of "$(pid_of cx)" cpu/cpu.cfs_quota_us cpu.max
    prints 0 cgroup_of "$(pid_of cx)" cpuset/cpuset.cpus cpuset.cpus
    remove cx
}
built() {
    mkdir -p "$SHARED/build"
    printf 'FROM %s\nRUN echo built >/made\nCMD ["cat", "/made"]\n' "$B" >"$SHARED/build/Dockerfile"
    DOCKER_BUILDKIT=0 tool build --tag localhost/built "$SHARED/build"
    says built once localhost/built
    tool rmi localhost/built
}
survives() { status_is cx running && says inside tool exec cx echo inside; }
waits() {
    detached --name cy "$B" sh -c 'sleep 2; exit 9'
    prints 9 tool wait cy
    remove cy
}

op 'run --runtime' says seen once --runtime "$NAME" "$B" echo seen
op 'run: healthcheck' healthy
op 'restart policy always' always
op 'two containers by name, a volume between them' compose
op 'update --cpus, --pids-limit, --cpuset-cpus' updated_more
op 'build' built
op 'wait' waits
op 'checkpoint create, start --checkpoint' checkpointed
op 'checkpoint create --leave-running, ls' left_running
op 'run before a restart' sleeper cx
restart_docker TERM
op 'restart of dockerd: the container runs on' survives
restart_docker KILL
op 'dockerd killed: the container runs on' survives
op 'rm --force after the restarts' remove cx
op 'system prune' pruned
