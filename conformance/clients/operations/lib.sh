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
    [ -z "${LIES:-}" ] || told_lies "$name" "$@"
    attempt "$@"
    status=$?
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
attempt() {
    local status
    exec {trace}>"$DIR/op.trace"
    ( set -eE; BASH_XTRACEFD=$trace; PS4='+ '; set -x; "$@" ) >"$DIR/op.said" 2>&1 </dev/null
    status=$?
    exec {trace}>&-
    return "$status"
}
# told_lies NAME COMMAND...: with each lie of LIES about it, it must not work. See lies.txt.
told_lies() {
    local clients place text name
    while IFS=$'\x1f' read -r clients place text name; do
        [ "$name" = "$1" ] && [[ " $clients " = *" $CLIENT "* ]] || continue
        printf '%s\n%s\n' "$place" "$text" >"$DIR/lie"
        attempt "${@:2}"
        case $? in
        0) record "$name: $place $text" 'does not' 'the lie was believed' ;;
        77) record "$name: $place $text" skip "$(reason)" ;;
        *) record "$name: $place $text" works "$(reason)" ;;
        esac
        rm "$DIR/lie"
        sweep >/dev/null 2>&1 </dev/null
    done < <(sed 's/ ; /\x1f/g; /^#/ d' "$LIES")
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

# said COMMAND...: what it says. says TEXT COMMAND...: that holds the text, errors included.
# prints TEXT COMMAND...: the text is all that it prints. exits N COMMAND...: its status is N.
said() {
    local said status=0
    said=$("$@") || status=$?
    [ "$status" = 0 ] || { [ -z "$said" ] || echo "status $status of $1: $said" >&2; return 1; }
    # Podman may lose what a program says that ends at once, under runc as under davit.
    case $CLIENT:$said in podman*:) said=$("$@") ;; esac
    printf '%s\n' "$said"
}
says() {
    local text=$1 said
    shift
    said=$(said "$@" 2>&1) || { echo "$said"; return 1; }
    case $said in *"$text"*) ;; *) echo "not ${text@Q} but ${said@Q}"; return 1 ;; esac
}
prints() {
    local text=$1 said
    shift
    said=$(said "$@") || return
    [ "$said" = "$text" ] || { echo "not ${text@Q} but ${said@Q}"; return 1; }
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
# frozen PID, thawed PID: so is its cgroup, whatever the client calls it.
frozen() { grep -qxE 'FROZEN|frozen 1' <(cgroup_of "$1" freezer/freezer.state cgroup.events); }
thawed() { grep -qxE 'THAWED|frozen 0' <(cgroup_of "$1" freezer/freezer.state cgroup.events); }

# What a container says of itself: COMMAND... runs a program in it.
# capable BIT COMMAND...: in each set that decides. incapable BIT COMMAND...: in none.
capable() { in_sets "$1" 1 "${@:2}"; }
incapable() { in_sets "$1" 0 "${@:2}"; }
in_sets() {
    local sets set
    sets=$(said "${@:3}" awk '/^Cap(Prm|Eff|Bnd)/ { print $2 }' /proc/self/status)
    [ "$(wc -w <<<"$sets")" = 3 ] || { echo "not three sets: $sets"; return 1; }
    for set in $sets; do
        [ $(((0x$set >> $1) & 1)) = "$2" ] || { echo "capability $1 is not $2 in ${sets//$'\n'/ }"; return 1; }
    done
}
no_capability() { prints $'0000000000000000\n0000000000000000\n0000000000000000' "$@" awk '/^Cap(Prm|Eff|Bnd)/ { print $2 }' /proc/self/status; }
# A filter is worth what it forbids: by each client's own list, addresses that are not random.
filtered() {
    says $'Seccomp:\t2' "$@" grep Seccomp: /proc/self/status
    complains 'personality' "$@" linux64 -R true
}
MASKED='/proc/acpi /proc/kcore /proc/keys /proc/scsi /proc/timer_list /sys/firmware'
LOCKED='/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger'
# protected COMMAND...: each of these is mounted over, or read-only. unprotected COMMAND...: none is.
protected() {
    local mounts path
    mounts=$(said "$@" cat /proc/mounts)
    for path in $MASKED; do
        [ ! -e "$path" ] || [[ $mounts = *" $path "* ]] || { echo "$path is not masked"; return 1; }
    done
    for path in $LOCKED; do
        [ ! -e "$path" ] || [[ $mounts =~ " $path "[a-z]*" ro," ]] || { echo "$path is not read-only"; return 1; }
    done
}
unprotected() {
    local mounts path
    mounts=$(said "$@" cat /proc/mounts)
    [[ $mounts = *' /proc '* ]]
    for path in $MASKED $LOCKED; do
        [[ $mounts != *" $path "* ]] || { echo "$path is covered"; return 1; }
    done
}
# apart COMMAND...: its namespaces are not the host's. joins KIND COMMAND...: this one is.
apart() {
    local links kind
    links=$(said "$@" sh -c 'for kind in ipc mnt net pid uts; do readlink /proc/self/ns/$kind; done')
    [ "$(wc -l <<<"$links")" = 5 ] || { echo "not five: $links"; return 1; }
    for kind in ipc mnt net pid uts; do
        [[ $links != *"$(readlink "/proc/self/ns/$kind")"* ]] || { echo "the $kind namespace is the host's"; return 1; }
    done
}
joins() { prints "$(readlink "/proc/self/ns/$1")" "${@:2}" readlink "/proc/self/ns/$1"; }
# like PID COMMAND...: what it runs has the rights and the namespaces of that process.
like() {
    local asked='grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/$0/status; for kind in cgroup ipc mnt net pid user uts; do readlink /proc/$0/ns/$kind; done'
    prints "$(sh -c "$asked" "$1")" "${@:2}" sh -c "$asked" self
}
# is_half COMMAND...: 512 shares of the CPU; version 2 has weights, by a scale that runtimes changed.
is_half() {
    local said
    said=$(said "$@")
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        [ "$said" -lt 100 ] || { echo "weight $said"; return 1; }
    else
        [ "$said" = 512 ] || { echo "shares $said"; return 1; }
    fi
}
# The device for user-space file systems: opened, for that is what a cgroup denies. Reading it is an
# error by itself, and its driver may be missing.
opens() { # COMMAND...: the file /f, which is made here
    local said
    said=$("$@" sh -c 'mknod /f c 10 229 && echo made; : <>/f' 2>&1) || true
    case $said in *'not permitted'*) ;; *made*) return ;; esac
    echo "$said"
    return 1
}
cannot_open() { complains 'open /f: Operation not permitted' "$@" sh -c 'mknod /f c 10 229 || exit; : </f'; }
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
