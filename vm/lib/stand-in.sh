#!/usr/bin/env bash
# Stands in for qemu when selftest runs: says what qemu says on its pipes, and plays a guest whose
# commands run right here. $MACHINE is what is wrong with it.
set -euo pipefail
[[ $1 != --version ]] || { echo 'QEMU emulator version 9.0.0'; exit; }
arguments=("$@")

# What NAME says in the option with a MARK, as qemu reads it: two commas are one, and one is the end.
option() { # MARK NAME
    local one
    for one in "${arguments[@]}"; do
        [[ $one == *"$1"*"$2="* ]] || continue
        one=${one#*"$2="}
        one=${one//,,/$'\n'}
        one=${one%%,*}
        printf '%s' "${one//$'\n'/,}"
        return
    done
}

# What qemu was told on its monitor.
obey() {
    local uri=${1#*'"exec:'}
    uri=${uri%%\"*}
    case $1 in
    *'"migrate"'*) [[ $MACHINE == forgetful ]] || sh -c "$uri" <<<'a state'; moved ;;
    *'"migrate-incoming"'*) [[ $(sh -c "$uri") == 'a state' ]] && moved ;;
    *'"quit"'*) exit 0 ;;
    esac
}
moved() {
    case $MACHINE in
    unmoved) echo '{"error": {"desc": "it does not fit"}}' >&8 ;;
    *) echo '{"event": "MIGRATION", "data": {"status": "completed"}}' >&8 ;;
    esac
}

# What the guest's agent was told.
answer() {
    local job status=0
    case $1 in
    save) echo ready >&6 ;;
    go*)
        job=$(option local,id=job path)
        setpriv --pdeathsig KILL -- bash "$job/command" </dev/null || status=$?
        echo "$status" >"$job/status"
        exit 0
        ;;
    esac
}

[[ $MACHINE != stillborn ]] || exit 1
monitor=$(option pipe,id=mon path) agent=$(option pipe,id=ctl path)
[[ $MACHINE != silent ]] || exec sleep 600
exec >"$(option file,id=out path)" 2>"$(option file,id=err path)"
exec 7<"$monitor.in" 8>"$monitor.out" 5<"$agent.in" 6>"$agent.out"
# A saved machine has its files where it is told.
for file in "$(option id=root file)" "$(option memory-backend-file mem-path)"; do [[ -z $file ]] || : >>"$file"; done
echo '{"QMP": {}}' >&8
[[ $MACHINE != idle ]] || exec sleep 600
while :; do
    if read -r -t 0.02 -u 7 line; then obey "$line"; fi
    if read -r -t 0.02 -u 5 line; then answer "$line"; fi
done
