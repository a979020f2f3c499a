# What every client's file says its operations with. Sourced, inside of the private host.
#
# op NAME COMMAND...  runs a command or a function and records the verdict. Inside of it `set -e`
# holds; `missing WHAT` skips the operation; whatever it said last is the reason of a failure.
set -uo pipefail

PATIENCE=${PATIENCE:-60}
SNAPSHOT=$HERE/../../crates/testbed/src/snapshot.sh
DIST=$HERE/../../dist

record() { printf '%s\t%s\t%s\t%s\n' "$CLIENT" "$1" "$2" "$3" | tee -a "$RESULTS"; }
# version TEXT: of a program that the page names.
version() { printf '#\t%s\t%s\n' "$CLIENT" "$*" >>"$RESULTS"; }

op() {
    local name=$1 status
    shift
    [[ $name =~ ${MATCH:-} ]] || return 0
    exec {trace}>"$DIR/op.trace"
    ( set -eE; BASH_XTRACEFD=$trace; PS4='+ '; set -x; "$@" ) >"$DIR/op.said" 2>&1 </dev/null
    status=$?
    exec {trace}>&-
    case $status in
    0) record "$name" works '' ;;
    77) record "$name" skip "$(reason)" ;;
    *)
        record "$name" 'does not' "$(reason)"
        { tail -n 15 "$DIR/op.trace"; tail -n 40 "$DIR/op.said"; } | sed 's/^/    /' >&2
        sweep >/dev/null 2>&1 </dev/null
        ;;
    esac
    return 0
}
# What a failed operation may have left in the way of the next; a client's file says what.
sweep() { :; }
# bounded COMMAND...: no client may hang; what forwards SIGTERM to its container is killed.
bounded() { timeout -k 5 "$PATIENCE" "$@"; }
# The last thing that was said, else the last command; on one line of a table.
reason() {
    local text
    text=$(grep -v '^[[:space:]]*$' "$DIR/op.said" | tail -n 1)
    [ -n "$text" ] || text=$(tail -n 1 "$DIR/op.trace")
    printf '%s' "$text" | tr '\t\r|' '  /' | sed "s|$DIR|DIR|g; s|$RUNTIME|RUNTIME|g" | cut -c 1-300
}
missing() { echo "$*"; exit 77; }
has() { command -v "$1" >/dev/null || missing "no program $1"; }

# says TEXT COMMAND...: its output holds the text. exits N COMMAND...: its status is N.
says() {
    local text=$1 said
    shift
    said=$("$@" 2>&1) || { echo "status $? of $1: $said"; return 1; }
    # Podman may lose what a program says that ends at once, under runc as under davit.
    case $CLIENT:$said in podman*:) said=$("$@" 2>&1) ;; esac
    case $said in *"$text"*) ;; *) echo "not ${text@Q} but ${said@Q}"; return 1 ;; esac
}
exits() {
    local expected=$1 status=0 said
    shift
    said=$("$@" 2>&1) || status=$?
    [ "$status" = "$expected" ] || { echo "status $status instead of $expected: $said"; return 1; }
}
# complains TEXT COMMAND...: it fails, and says so in these words.
complains() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then echo "succeeded: $said"; return 1; fi
    case $said in *"$text"*) ;; *) echo "not ${text@Q} but ${said@Q}"; return 1 ;; esac
}
refuses() { ! "$@" || { echo "succeeded: $*"; return 1; }; }
# await COMMAND...: until it succeeds.
await() {
    local end=$((SECONDS + PATIENCE))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*"; "$@"; return 1; }
        sleep 0.2
    done
}
gone() { ! "$@" >/dev/null 2>&1; }
# on_a_terminal COMMAND...: with one of its own, as script(1) gives it.
on_a_terminal() { bounded script -qec "${*@Q}" /dev/null; }
needs_criu() { criu check >/dev/null 2>&1 || missing 'a criu that suits this kernel (criu check)'; }
# cgroup_of PID V1CONTROLLER/FILE V2FILE: what the file of its cgroup holds.
cgroup_of() {
    local controller=${2%%/*} path
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")/$3"
    else
        path=$(awk -F : -v c="$controller" '("," $2 ",") ~ ("," c ",") { print $3 }' "/proc/$1/cgroup")
        cat "/sys/fs/cgroup/$controller$path/${2#*/}"
    fi
}
fetch() { timeout 10 curl -sS -m 5 "$@"; }

# What the private host carries, without what stays by design: locks, indices, the directory of a network that is gone, davit's cache of filters.
# Podman mounts its storage on itself now and then.
what_is_there() {
    sh "$SNAPSHOT" "$ID" "$@" >"$DIR/there" || return
    grep -v -E "last_reserved_ip|/lock|/~seccomp|/networks/[a-z]*$|/iptables\.queue|/graph/overlay$|/\.davit|dev ${BRIDGES:-nothing}|^${BRIDGES:-nothing}" "$DIR/there"
}
remember() { what_is_there "$@" >"$DIR/before"; }
# Sorted: dockerd puts its rules into another order with each restart.
nothing_new() { what_is_there "$@" >"$DIR/after"; diff <(sort "$DIR/before") <(sort "$DIR/after"); }
! command -v criu >/dev/null || version "CRIU $(criu --version | sed -n 's/^Version: //p')"
