# A containerd of this client's own, and ctr. Sourced by ctr.sh, ctr-cni.sh and cri.sh.

SOCKET=$DIR/containerd.sock
IMAGE=localhost/busybox:latest
NAMESPACE=$ID
version "$(containerd --version | cut -d' ' -f1,3)"
version "$("$RUNTIME" --version | head -n 1)"

# The first lines of a configuration: everything below the client's directory.
containerd_config() {
    cat <<END
version = 2
root = "$DIR/root"
state = "$DIR/state"
[grpc]
  address = "$SOCKET"
[ttrpc]
  address = "$SOCKET.ttrpc"
END
}
containerd_without_cri() {
    echo 'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]'
    containerd_config
}
answers() { timeout 2 ctr --address "$SOCKET" version; }
start_containerd() {
    containerd --config "$DIR/config.toml" >>"$DIR/containerd.log" 2>&1 &
    DAEMON=$!
    await answers
}
# start_containerd ran in the shell that must wait for it, so neither may be in an op().
restart_containerd() {
    kill "$DAEMON"
    wait "$DAEMON"
    start_containerd
}

tool() { bounded ctr --address "$SOCKET" --namespace "$NAMESPACE" "$@"; }
import_image() {
    sh "$HERE/image.sh" "$IMAGE" "$DIR/image.tar"
    tool images import "$DIR/image.tar"
}
pid_of() { tool task ls | awk -v name="$1" '$1 == name { print $2 }'; }
status_is() { tool task ls | grep -q "^$1 .*$2"; }
sweep() { # all but those that later operations need
    local name
    ! status_is one PAUSED || { "$RUNTIME" --root "$DIR/runtime/$NAMESPACE" pause one; tool task resume one; }
    for name in $(tool container ls -q); do
        case $name in one | survivor) ;; *) remove "$name"; "$RUNTIME" --root "$DIR/runtime/$NAMESPACE" delete --force "$name" ;; esac
    done
    ! mountpoint -q /run/netns/joined || umount /run/netns/joined
}
# Its task and itself, whatever it does.
remove() {
    tool task kill --signal SIGKILL "$1" || true
    await status_is "$1" STOPPED
    tool task rm "$1" || true
    tool container rm "$1"
}
