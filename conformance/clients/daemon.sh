# containerd with nothing but what it needs, all below one directory. Sourced; $dir is set by then.

cat >"$dir/config.toml" <<END
version = 2
root = "$dir/root"
state = "$dir/run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$dir/s"
[ttrpc]
  address = "$dir/s.ttrpc"
END
fail() { echo "containerd: $*" >&2; tail -n 20 "$dir/log" >&2; exit 1; }
image=localhost/busybox:latest

# start_containerd IMAGE.sh, which makes the image that is there afterwards. tool() is ctr, by then.
start_containerd() {
    containerd --config "$dir/config.toml" >"$dir/log" 2>&1 &
    daemon=$!
    for _ in $(seq 150); do timeout 2 ctr --address "$dir/s" version >/dev/null 2>&1 && break; sleep 0.1; done
    sh "$1" "$image" "$dir/image.tar"
    tool images import "$dir/image.tar" >/dev/null || fail import
}
stop_containerd() {
    kill "$daemon"
    wait
}
