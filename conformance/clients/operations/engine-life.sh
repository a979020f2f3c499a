# The life of a container under podman and Docker. Sourced.
create_start() {
    tool create "${PARENT[@]}" --name cx "$B" echo created
    status_is cx created || status_is cx configured
    prints created tool start --attach cx
    remove cx
}
execed() {
    says inside tool exec one echo inside
    like "$(pid_of one)" tool exec one
}
exec_as() {
    prints '1000 /tmp b' tool exec --user somebody --workdir /tmp --env A=b one sh -c 'echo $(id -u) $(pwd) $A'
    says 1002 tool exec --user somebody one id -G
}
exec_detached() {
    tool exec --detach one sh -c 'echo done >/tmp/done'
    await tool exec one test -e /tmp/done
}
pause_unpause() {
    tool pause one
    status_is one paused
    frozen "$(pid_of one)"
    refuses tool exec one true
    tool unpause one
    thawed "$(pid_of one)"
    says inside tool exec one echo inside
}
logs_follow() {
    detached --name cx "$B" sh -c 'for i in 1 2 3; do echo line$i; sleep 0.3; done; echo complaint >&2'
    says line3 tool logs --follow cx
    says complaint tool logs --tail 1 cx
    remove cx
}
attached() {
    detached --name cx "$B" sh -c 'while :; do echo tick; sleep 0.2; done'
    { sleep 1; tool kill cx; } >/dev/null &
    says tick exits_any tool attach --no-stdin cx
    remove cx
}
exits_any() { "$@" || true; }
kill_signal() {
    detached --name cx "$B" sh -c 'trap "exit 33" USR1; echo ready; while :; do sleep 0.1; done'
    await log_holds cx ready
    tool kill --signal USR1 cx
    prints 33 tool wait cx
    remove cx
}
stop_gently() {
    detached --name cx "$B" sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done'
    await log_holds cx ready
    tool stop --time 20 cx
    prints 3 inspect cx '{{.State.ExitCode}}'
    remove cx
}
stop_in_time() {
    detached --name cx "$B" sh -c 'trap "" TERM; echo ready; while :; do sleep 0.1; done'
    await log_holds cx ready
    tool stop --time 1 cx
    prints 137 inspect cx '{{.State.ExitCode}}'
    remove cx
}
restarted() {
    local before
    before=$(pid_of one)
    tool restart --time 0 one
    status_is one running
    [ "$(pid_of one)" != "$before" ]
    says inside tool exec one echo inside
}
restart_policy() {
    detached --restart on-failure:2 --name cx "$B" sh -c 'echo again; exit 1'
    await exits_with_three_lines
    remove cx
}
exits_with_three_lines() { [ "$(tool logs cx | grep -c again)" = 3 ]; }
copy() {
    echo copied >"$SHARED/copied"
    tool cp "$SHARED/copied" one:/tmp/copied
    says copied tool exec one cat /tmp/copied
    tool cp one:/tmp/copied "$SHARED/back"
    says copied cat "$SHARED/back"
}
committed() {
    tool exec one sh -c 'echo committed >/added'
    says /added tool diff one
    tool commit one localhost/committed
    says committed once localhost/committed cat /added
    tool rmi localhost/committed
}
exported() { tool export --output "$SHARED/export.tar" one && says bin/busybox tar -tf "$SHARED/export.tar"; }
updated() {
    sleeper cx --memory 64m
    tool update --memory 96m --memory-swap 192m --cpus 0.5 cx
    prints 100663296 cgroup_of "$(pid_of cx)" memory/memory.limit_in_bytes memory.max
    # Version 2 counts what is swapped, version 1 all.
    [ "$(cgroup_of "$(pid_of cx)" memory/memory.memsw.limit_in_bytes memory.swap.max)" = "$([ -e /sys/fs/cgroup/cgroup.controllers ] && echo 100663296 || echo 201326592)" ]
    says 50000 cgroup_of "$(pid_of cx)" cpu/cpu.cfs_quota_us cpu.max
    remove cx
}
rm_running() {
    complains 'running' tool rm one
    status_is one running
}
twice_stopped() { # stop and kill of what has ended
    detached --name cx "$B" true
    await status_is cx exited
    tool stop cx
    complains 'not running' tool kill cx || complains 'can only kill running' tool kill cx
    remove cx
}
removed() {
    local id
    id=$(inspect "$1" '{{.Id}}')
    tool rm "$1"
    refuses inspect "$1" '{{.Id}}'
    forgotten "$id"
}
pruned() {
    tool create --name cx "$B" true
    tool container prune --force
    refuses inspect cx '{{.Id}}'
}
on_terminal_exec() { says /dev/ on_a_terminal "${TOOL[@]}" exec --interactive --tty one tty; }
missing_is_told() { # Docker 20.10 says 126 to every exec that could not start
    local status=0
    "$@" || status=$?
    [ "$status" = 127 ] || { [ "${TOOL[0]}" = docker ] && [ "$status" = 126 ]; }
}
kill_and_wait() { tool kill "$1" && return "$(tool wait "$1")"; }
rename_back() { tool rename one two && tool exec two true && tool rename two one; }

op 'create and start --attach' create_start
op 'run --detach' sleeper one
op 'ps' says one tool ps
op 'inspect' status_is one running
op 'exec' execed
op 'exec: exit status' exits 7 tool exec one sh -c 'exit 7'
op 'exec --tty' on_terminal_exec
op 'exec --user, --workdir, --env' exec_as
op 'exec --privileged' capable 21 tool exec --privileged one
op 'exec --detach' exec_detached
op 'exec: a file that is not executable is 126' exits 126 tool exec one /etc/passwd
op 'exec: a program that is missing is 127' missing_is_told tool exec one /no/such/program
op 'exec: a name that is not in PATH is 127' missing_is_told tool exec one nosuchprogram
op 'top' says 'sleep 600' tool top one
op 'stats' says "$(inspect one '{{.Id}}' | cut -c 1-12)" tool stats --no-stream one
op 'logs --follow, --tail' logs_follow
op 'attach' attached
op 'pause and unpause' pause_unpause
op 'update' updated
op 'cp in and out' copy
op 'diff and commit' committed
op 'export' exported
op 'rename' rename_back
op 'restart' restarted
op 'rm of a running one is refused' rm_running
op 'kill' exits 137 kill_and_wait one
op 'rm' removed one
op 'kill --signal: the program hears it' kill_signal
op 'stop: the program ends itself' stop_gently
op 'stop --time: it does not' stop_in_time
op 'stop and kill of what has ended' twice_stopped
op 'restart policy on-failure' restart_policy
