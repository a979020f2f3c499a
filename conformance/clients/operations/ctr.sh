# containerd's ctr, without a network.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
run() { tool run --runc-binary "$RUNTIME" --runc-root "$DIR/runtime" --cgroup "/$ID/$RANDOM" "$@"; }
execs() { tool task exec --exec-id "e$RANDOM$RANDOM" "$@"; }
containerd_without_cri >"$DIR/config.toml"
# ctr forgets --runc-binary as soon as it sets an option of the task, such as --no-pivot or the owner of
# the streams: its shim runs the runc of containerd's PATH then, which must not be the machine's.
ln -s "$RUNTIME" "$DIR/bin/runc"
start_containerd

op 'images import' import_image
run --rm "$IMAGE" warm true
run --rm --no-pivot "$IMAGE" warm true
remember "$DIR/runtime" /run/containerd/runc
. "$OPERATIONS/ctr-run.sh"
. "$OPERATIONS/ctr-task.sh"
. "$OPERATIONS/ctr-daemon.sh"

is_idle() { [ -z "$(tool task ls -q)$(tool container ls -q)$(ls "$DIR/runtime/$NAMESPACE" 2>/dev/null | grep -v "^~seccomp$")" ]; }
op 'nothing is left: tasks, containers, state of the runtime' await is_idle
op 'nothing is left: links, rules, mounts, files' nothing_new "$DIR/runtime" /run/containerd/runc
