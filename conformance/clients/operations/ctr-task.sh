# ctr task, on one container that sleeps. Sourced by ctr.sh.
pause_and_resume() {
    tool task pause one
    await status_is one PAUSED
    frozen "$(pid_of one)"
    complains 'paused' execs one true
    tool task resume one
    await status_is one RUNNING
    thawed "$(pid_of one)"
    execs one true
}
execed() {
    says inside execs one echo inside
    like "$(pid_of one)" execs one
}
kill_signal() { # a signal that the program hears and answers
    run -d "$IMAGE" hears sh -c 'trap "exit 33" USR1; while :; do sleep 0.1; done'
    sleep 0.5
    tool task kill --signal SIGUSR1 hears
    await status_is hears STOPPED
    says 'exit code 33' tool task rm hears
    tool container rm hears
}
kill_exec() {
    execs_named=x$RANDOM
    tool task exec --detach --exec-id "$execs_named" one sleep 300
    tool task kill --signal SIGKILL --exec-id "$execs_named" one
    await says 1 bash -c "ctr --address $SOCKET -n $NAMESPACE task ps one | grep -c '^[0-9]'"
}
kill_all() { # the child of its init hears it too, and then there is nothing to wait for
    run -d --log-uri "file://$DIR/family" "$IMAGE" family sh -c '
        sh -c "trap \"echo heard; exit\" USR1; echo ready; while :; do sleep 0.1; done" &
        trap "" USR1
        wait'
    await grep -q ready "$DIR/family"
    tool task kill --all --signal SIGUSR1 family
    await grep -q heard "$DIR/family"
    await status_is family STOPPED
    remove family
}
rm_running() {
    complains 'must be stopped' tool task rm one
    complains 'cannot delete a non stopped container' tool container rm one
}
rm_force() {
    run -d "$IMAGE" forced sleep 100
    tool task rm --force forced || true # its status is the container's: 137
    gone status_is forced RUNNING
    gone test -e "$DIR/runtime/$NAMESPACE/forced"
    tool container rm forced
}
attached() {
    run -d "$IMAGE" att sh -c 'trap "exit 5" TERM; while :; do echo tick; sleep 0.2; done'
    { sleep 1; tool task kill att; } &
    complains tick tool task attach att # which ends with the program's 5, and deletes the task
    tool container rm att
}
memory_killed() {
    run -d --memory-limit 16777216 "$IMAGE" greedy sh -c 'x=a; while :; do x=$x$x; done'
    await status_is greedy STOPPED
    says 'exit code 137' tool task rm greedy
    tool container rm greedy
}
checkpointed() {
    needs_criu
    run -d --log-uri "file://$DIR/count" "$IMAGE" cp sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done'
    sleep 1
    tool container checkpoint --task "cp" "localhost/cp:$1"
    status_is cp RUNNING
    remove cp
    : "restored from the image"
    tool container restore --live restored "localhost/cp:$1"
    status_is restored RUNNING
    tool task exec --exec-id alive restored true
    remove restored
    tool images rm "localhost/cp:$1"
}
checkpoint_exit() {
    needs_criu
    run -d --null-io "$IMAGE" cpx sleep 300
    mkdir -p "$DIR/criu-image" "$DIR/criu-work"
    tool task checkpoint --exit --image-path "$DIR/criu-image" --work-path "$DIR/criu-work" cpx
    await status_is cpx STOPPED
    [ -n "$(ls "$DIR/criu-image")" ]
    remove cpx
}

op 'run --detach' run --detach "$IMAGE" one sleep 600
op 'task ls' says RUNNING tool task ls
op 'task exec' execed
op 'task exec: exit status' exits 7 execs one sh -c 'exit 7'
op 'task exec --tty' says /dev/ on_a_terminal ctr --address "$SOCKET" -n "$NAMESPACE" task exec --tty --exec-id tty one tty
op 'task exec --cwd' says /tmp execs --cwd /tmp one pwd
op 'task exec --user' says 'uid=1000 gid=1001' execs --user 1000:1001 one id
op 'task exec --detach and kill --exec-id' kill_exec
op 'task exec: a program that is missing' complains 'stat /no/such/program: no such file or directory' execs one /no/such/program
op 'task exec: a name that is not in PATH' complains 'executable file not found in $PATH' execs one nosuchprogram
op 'task ps' says "$(tool task ls | awk '$1 == "one" { print $2 }')" tool task ps one
op 'task metrics' says memory tool task metrics one
op 'task pause and resume' pause_and_resume
op 'task attach' attached
op 'task rm and container rm of a running one' rm_running
op 'task kill' remove one
op 'task kill --signal' kill_signal
op 'task kill --all' kill_all
op 'task kill of a stopped one' complains 'not found' tool task kill one
op 'task rm --force' rm_force
op 'out of memory is 137' memory_killed
op 'container checkpoint --task and restore --live' checkpointed 1
op 'task checkpoint --exit' checkpoint_exit
