# podman with RUNTIME, as root or as a user, inside a private host: sh podman.sh RUNTIME DIR PARENT
set -eu
runtime=$1 dir=$2 parent=$3
fail() { echo "podman: $*" >&2; exit 1; }
mkdir -p "$dir/home" "$dir/run" "$dir/image/bin"
export HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" CONTAINERS_CONF="$dir/containers.conf"
export CONTAINERS_STORAGE_CONF="$dir/storage.conf" PATH=/usr/sbin:/usr/bin:/sbin:/bin
cp /bin/busybox "$dir/image/bin/busybox"
for applet in sh sleep echo cat true; do ln -sf busybox "$dir/image/bin/$applet"; done
tar -C "$dir/image" -cf "$dir/image.tar" .
cat >"$CONTAINERS_CONF" <<END
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
END
cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "vfs"
graphroot = "$dir/graph"
runroot = "$dir/runroot"
END
tool() { podman --runtime "$runtime" "$@"; }
run() { tool run $parent --network none "$@"; }
tool import "$dir/image.tar" busybox >/dev/null 2>&1 || fail import
[ "$(run --rm busybox echo seen)" = seen ] || fail run
status=0; run --rm busybox sh -c 'exit 42' || status=$?
[ "$status" -eq 42 ] || fail "run: status $status instead of 42"
status=0; run --rm busybox /no/such/program 2>/dev/null || status=$?
[ "$status" -eq 127 ] || fail "a missing program: status $status instead of 127"
run --detach --name one busybox sleep 600 >/dev/null || fail 'run --detach'
[ "$(tool exec one echo inside)" = inside ] || fail exec
tool inspect --format '{{.State.Status}}' one | grep -q running || fail inspect
tool kill one >/dev/null || fail kill
tool wait one >/dev/null || fail wait
tool rm --force one >/dev/null || fail rm
