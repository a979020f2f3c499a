# containerd and ctr with RUNTIME inside a private host: sh containerd.sh RUNTIME DIR PARENT IMAGE.sh
set -eu
runtime=$1 dir=$2 parent=$3
. "${4%/*}/daemon.sh"
tool() { ctr --address "$dir/s" --namespace "${parent#/}" "$@"; }
run() { tool run --runc-binary "$runtime" --runc-root "$dir/runtime" "$@"; }
start_containerd "$4"
[ "$(run --rm $image first echo seen)" = seen ] || fail run
status=0; run --rm $image fails sh -c 'exit 42' || status=$?
[ "$status" -eq 42 ] || fail "run: status $status instead of 42"
if run --rm $image missing /no/such/program 2>"$dir/error"; then fail 'a missing program ran'; fi
grep -qi 'no such file' "$dir/error" || fail "$(cat "$dir/error")"
run --detach $image one sleep 600 || fail 'run --detach'
tool task ls | grep -q 'one .*RUNNING' || fail 'not running'
[ "$(tool task exec --exec-id e one echo inside)" = inside ] || fail exec
tool task pause one && tool task ls | grep -q 'one .*PAUSED' || fail pause
tool task resume one || fail resume
tool task kill --signal SIGKILL one || fail kill
for _ in $(seq 50); do tool task ls | grep -q 'one .*STOPPED' && break; sleep 0.1; done
tool task rm one >/dev/null 2>&1 || fail 'task rm'
tool container rm one || fail 'container rm'
stop_containerd
