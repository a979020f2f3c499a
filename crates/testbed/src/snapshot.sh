#!/bin/sh
# Prints what a host carries, in sections: snapshot.sh CGROUP-PREFIX [DIRECTORY...]
# Counters, handles and numbers that the kernel chose are left out, so that two outputs compare.
# Every tool must succeed: a section that could not be taken would compare as equal to itself.
set -u
export LC_ALL=C
prefix=$1
shift

# section NAME COMMAND...: its heading, and what the command printed in $taken.
section() {
    printf '== %s\n' "$1"
    shift
    taken=$("$@") || { echo "snapshot: $*: status $?" >&2; exit 1; }
}
lines() { [ -z "$taken" ] || printf '%s\n' "$taken"; }
routes() { ip -4 route && ip -6 route; }
# Where hierarchies are mounted, of both versions, at their own place or as the root of all.
hierarchies() {
    awk '{ for (i = 7; i < NF; i++) if ($i == "-") { if ($(i+1) ~ /^cgroup2?$/) print $5; break } }' \
        /proc/self/mountinfo
}
# Other people's cgroups come and go while ours are listed: a pattern does not mind, find does.
cgroups() {
    for hierarchy in $(hierarchies); do
        for group in "$hierarchy/$prefix"* "$hierarchy"/*/"$prefix"*; do
            [ ! -d "$group" ] || printf '%s\n' "$group"
        done
    done
}
files() {
    for directory in "$@"; do
        [ ! -e "$directory" ] || find "$directory" -ignore_readdir_race || return
    done
}

section links ip -o link
lines | sed 's/^[0-9]*: //; s/@.*//; s/: .*//' | sort
section addresses ip -o addr
lines | sed 's/^[0-9]*: //; s/ tentative//; s/ *valid_lft.*//; s/\\//' | sort
section routes routes
lines | sort
section nft nft -s list ruleset
lines
section iptables iptables-save
lines | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
section ip6tables ip6tables-save
lines | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
section mounts awk '{ print $5 }' /proc/self/mountinfo
lines | sort
section netns ls /run/netns
lines
section cgroups cgroups
lines | sort
section files files "$@"
lines | sort
