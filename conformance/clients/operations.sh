#!/bin/bash
# What real clients can do with a runtime and a directory of plugins, operation by operation:
#   operations.sh RUNTIME CNI_PATH DIRECTORY [CLIENT...]
# A client is a file in operations/, run in a private host of its own; without a name, all of them.
# DIRECTORY/CLIENT.tsv gets one line for each operation: client, operation, verdict, reason, between
# tabs (`client-table` makes a page of it). CRIU=PROGRAM puts another criu before the machine's.
# MATCH=REGEX tries only the operations so named. LIES=FILE puts a liar before the runtime, and the lines
# are about what it was caught at: see lies.txt.
set -euo pipefail
[ $# -ge 3 ] || { echo 'usage: operations.sh RUNTIME CNI_PATH DIRECTORY [CLIENT...]' >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'operations.sh: needs root' >&2; exit 1; }
HERE=$(cd "$(dirname "$0")" && pwd)
HONEST=$(realpath "$(command -v "$1")") PLUGINS=$(realpath "$2") COLUMN=$(realpath "$3")
RUNTIME=$HONEST
shift 3
[ $# -gt 0 ] || set -- $(cat "$HERE/names")
mkdir -p "$COLUMN"
where() ( # for the page that is made of it; a subshell, for Debian has an ID too
    . /etc/os-release
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then groups=v2; else groups=v1; fi
    printf '#\tmachine\tLinux %s, %s, cgroup %s\n' "$(uname -rm)" "$PRETTY_NAME" "$groups"
)
export HERE RUNTIME PLUGINS RESULTS CLIENT DIR ID SYSTEMD

# Cgroups are the whole machine's: what a client left there is told, and removed. The parent that it
# was given nobody removes, nor podman its conmon's; `session` is where a user's commands were.
cgroups_left() { find /sys/fs/cgroup -depth -type d -path "*/$ID*" "$@" 2>/dev/null || true; }

# private COMMAND...: in namespaces of its own. systemd takes process IDs as they are: who asks it for
# units shares the machine's, and what he leaves dies with a scope instead of with a namespace.
private() {
    local names=(unshare -m -n -i --propagation private)
    if [ -z "$SYSTEMD" ]; then
        exec "${names[@]}" -p --fork --kill-child --mount-proc "$@"
    fi
    exec systemd-run --quiet --scope --unit="$ID" --property=TimeoutStopSec=1 -- "${names[@]}" "$@"
}
# liar HONEST: the path of one that says what the file `lie` says, by the same name.
liar() {
    mkdir "$DIR/liar"
    install -m 755 "$1" "$DIR/liar/honest"
    sed "/^honest=/ s|HONEST lie=LIE|$DIR/liar/honest lie=$DIR/lie|" "$HERE/liar.sh" >"$DIR/liar/$(basename "$1")"
    chmod 755 "$DIR/liar/$(basename "$1")"
    echo "$DIR/liar/$(basename "$1")"
}
stop_unit() { [ -z "$SYSTEMD" ] || systemctl stop "$1" || true; } # it may have ended by itself

inner=
ended=
# Everything inside dies with unshare; what it leaves outside is removed below.
trap 'ended=130; [ -z "$inner" ] || kill -KILL "$inner" 2>/dev/null' INT TERM HUP
for CLIENT in "$@"; do
    DIR=$(mktemp -d "/tmp/dvt-$CLIENT.XXXXXX") ID=dvt-$CLIENT$$ SYSTEMD=
    case $CLIENT in *-systemd) # A dash in the name of a slice is a slice of its own.
        ID=${ID//-/_}
        [ ! -d /run/systemd/system ] || SYSTEMD=1 ;;
    esac
    RESULTS=$DIR.tsv # whole, when it gets its name
    where >"$RESULTS"
    chmod 755 "$DIR"
    [ -z "${LIES:-}" ] || RUNTIME=$(liar "$HONEST")
    private bash "$HERE/operations/host.sh" </dev/null &
    inner=$!
    status=0
    wait "$inner" || status=$?
    wait "$inner" 2>/dev/null || true # a signal ends the first wait early
    inner=
    [ "$status" = 0 ] || printf '%s\t%s\t%s\t%s\n' "$CLIENT" 'all operations' 'does not' \
        "the script ended with $status" >>"$RESULTS"
    stop_unit "$ID.scope"
    sleep 0.5 # what was killed leaves its cgroups
    left=$(cgroups_left -path "*/$ID*/*" ! -name conmon ! -name session -printf '%P ')
    if [ -n "$left" ]; then verdict='does not' reason=$left; else verdict=works reason=; fi
    printf '%s\t%s\t%s\t%s\n' "$CLIENT" 'no cgroup is left on the machine' "$verdict" "${reason:0:300}" >>"$RESULTS"
    stop_unit "$ID.slice" # where it has put its containers
    cgroups_left -exec rmdir {} + || true
    total=$(awk -F '\t' '$1 != "#" { n[$3]++ }
        END { printf "%d work, %d do not, %d skipped", n["works"], n["does not"], n["skip"] }' "$RESULTS")
    echo "$CLIENT: $total"
    [ -n "$ended" ] || cp "$RESULTS" "$COLUMN/$CLIENT.tsv"
    rm -f "$RESULTS"
    if [ -n "${KEEP:-}" ]; then echo "kept: $DIR"; else rm -rf "$DIR"; fi
    [ -z "$ended" ] || exit "$ended"
done
