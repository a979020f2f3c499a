# containerd's ctr, without a network.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
run() { tool run --runc-binary "$RUNTIME" --runc-root "$DIR/runtime" --cgroup "/$ID/$RANDOM" "$@"; }
execs() { tool task exec --exec-id "e$RANDOM$RANDOM" "$@"; }
containerd_without_cri >"$DIR/config.toml"
start_containerd

op 'images import' import_image
run --rm "$IMAGE" warm true
remember "$DIR/runtime"
. "$OPERATIONS/ctr-run.sh"
. "$OPERATIONS/ctr-task.sh"
. "$OPERATIONS/ctr-daemon.sh"

is_idle() { [ -z "$(tool task ls -q)$(tool container ls -q)$(ls "$DIR/runtime/$NAMESPACE" 2>/dev/null | grep -v "^~seccomp$")" ]; }
op 'nothing is left: tasks, containers, state of the runtime' await is_idle
op 'nothing is left: links, rules, mounts, files' nothing_new "$DIR/runtime"
