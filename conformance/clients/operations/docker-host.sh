# dockerd with what dist/ ships, its path replaced, and what this host needs beside it. Sourced by
# docker.sh.
NAME=$(basename "$RUNTIME")
export DOCKER_HOST="unix://$DIR/docker.sock"
# "runc" is reserved for the engine's own: the column of runc runs without the fragment's runtime.
# Group and score: nobody here may lower the one, and the other need not exist.
jq --arg manager "${MANAGER:-cgroupfs}" --arg dir "$DIR" --arg runtime "$RUNTIME" --arg name "$NAME" '
    (if $name == "runc" then {} else .runtimes = {($name): {path: $runtime}} | .["default-runtime"] = $name end)
    + { "data-root": ($dir + "/data"), "exec-root": ($dir + "/exec"), pidfile: ($dir + "/docker.pid"),
        hosts: [env.DOCKER_HOST], group: "root", "exec-opts": ["native.cgroupdriver=" + $manager],
        "oom-score-adjust": 0, experimental: true, "live-restore": true }' \
    "$DIST/docker/daemon.json" >"$DIR/daemon.json"

docker_answers() { timeout 5 docker version >/dev/null 2>&1; }
start_docker() {
    dockerd --config-file "$DIR/daemon.json" >>"$DIR/dockerd.log" 2>&1 &
    DAEMON=$!
    await docker_answers
}
restart_docker() { # SIGNAL
    kill "-$1" "$DAEMON"
    wait "$DAEMON"
    rm -f "$DIR/docker.pid"
    start_docker
}
start_docker
