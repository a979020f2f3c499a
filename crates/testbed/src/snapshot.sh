#!/bin/sh
# Prints what a host carries, in sections: snapshot.sh CGROUP-PREFIX [DIRECTORY...]
# Counters, handles and numbers that the kernel chose are left out, so that two outputs compare.
export LC_ALL=C
echo '== links';      ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/: .*//' | sort
echo '== addresses';  ip -o addr | sed 's/^[0-9]*: //; s/ tentative//; s/ *valid_lft.*//; s/\\//' | sort
echo '== routes';     { ip -4 route; ip -6 route; } | sort
echo '== nft';        nft -s list ruleset
echo '== iptables';   iptables-save  2>/dev/null | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
echo '== ip6tables';  ip6tables-save 2>/dev/null | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//'
echo '== mounts';     awk '{print $5}' /proc/self/mountinfo | sort
echo '== netns';      ls /run/netns
echo '== cgroups';    find /sys/fs/cgroup -mindepth 2 -maxdepth 3 -type d -name "$1*" \
                      \( -fstype cgroup -o -fstype cgroup2 \) | sort; shift
echo '== files';      [ $# -eq 0 ] || find "$@" 2>/dev/null | sort
