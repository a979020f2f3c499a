# Docker Engine with RUNTIME as its default runtime, inside a private host: sh docker.sh RUNTIME DIR
set -eu
runtime=$1 dir=$2
export DOCKER_HOST="unix://$dir/docker.sock" HOME="$dir" PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "docker: $*" >&2; tail -n 20 "$dir/dockerd.log" >&2; exit 1; }
mkdir -p "$dir/image/bin"
cp /bin/busybox "$dir/image/bin/busybox"
for applet in sh sleep echo cat true hostname; do ln -sf busybox "$dir/image/bin/$applet"; done
cat >"$dir/daemon.json" <<END
{ "data-root": "$dir/data", "exec-root": "$dir/exec", "pidfile": "$dir/pid", "hosts": ["$DOCKER_HOST"],
  "exec-opts": ["native.cgroupdriver=cgroupfs"], "oom-score-adjust": 0, "bridge": "none", "iptables": false,
  "cgroup-parent": "$3", "runtimes": {"subject": {"path": "$runtime"}}, "default-runtime": "subject" }
END
dockerd --config-file "$dir/daemon.json" >"$dir/dockerd.log" 2>&1 &
for _ in $(seq 150); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
docker version >/dev/null || fail 'no answer'
tar -C "$dir/image" -c . | docker import - busybox >/dev/null || fail import
[ "$(docker run --rm busybox echo seen)" = seen ] || fail 'run'
status=0; docker run --rm busybox sh -c 'exit 42' || status=$?
[ "$status" -eq 42 ] || fail "run: status $status instead of 42"
status=0; docker run --rm busybox /no/such/program 2>/dev/null || status=$?
[ "$status" -eq 127 ] || fail "a missing program: status $status instead of 127"
docker run --detach --name one --memory 64m busybox sleep 600 >/dev/null || fail 'run --detach'
[ "$(docker exec one echo inside)" = inside ] || fail exec
docker pause one >/dev/null && docker unpause one >/dev/null || fail 'pause and unpause'
docker update --memory 96m --memory-swap -1 one >/dev/null || fail update
docker kill one >/dev/null || fail kill
docker rm one >/dev/null || fail rm
kill "$(cat "$dir/pid")"
wait
