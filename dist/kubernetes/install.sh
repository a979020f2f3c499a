#!/bin/sh
# Puts davit onto a node, or takes it away again: install.sh install|remove
#
# FROM holds bin/davit, bin/davit-cni, cni/davit-cni-plugins and 10-davit.conflist; HOST is where the
# node's directories are mounted; SUBNET is for its containers, if the list's own is taken. Needs a
# POSIX shell with coreutils and flock, or busybox, and writes to no other directory.
#
# Killed anywhere, it leaves every file whole, old or new; the next run goes on from there.
set -eu
umask 022
from=${FROM:-/davit} host=${HOST:-/host} patience=${PATIENCE:-60}
own_subnet=10.185.0.0/24
subnet=${SUBNET:-$own_subnet}

programs=$host/usr/local/bin plugins=$host/opt/cni/bin networks=$host/etc/cni/net.d
# One executable, a hard link of it for each plugin. During an install, .older is the one before it:
# whose a plugin is, its inode tells. What another suite had under these names is in .before-davit.
suite=$plugins/davit-cni-plugins
older=$plugins/.davit-cni-plugins.older
before=$plugins/.before-davit
list=$networks/10-davit.conflist
# A copy of the list as it was written, to see whether somebody has changed it since.
written=$networks/.10-davit.conflist.installed
# Where containerd has its containers, each with the options of its runtime.
tasks=$host/run/containerd/io.containerd.runtime.v2.task

say() { echo "install.sh: $*"; }
fail() { say "$*" >&2; exit 1; }
there() { [ -e "$1" ] || [ -L "$1" ]; }

# On the directory itself, for a file would be one more to leave behind.
lock() {
    exec 9<"$plugins"
    waited=0
    while :; do
        status=0
        flock -n 9 || status=$?
        case $status in
        0) return ;;
        1) [ "$waited" -lt "$patience" ] || fail "another install.sh is at work on $plugins, for $patience seconds now" ;;
        *) fail "flock has ended with $status: is it there?" ;;
        esac
        sleep 1
        waited=$((waited + 1))
    done
}

# put FILE DIRECTORY MODE: by rename within the directory, so that nobody finds half a file, and
# what runs at this moment keeps its own.
put() {
    new=$2/.${1##*/}.new
    rm -f "$new"
    cp "$1" "$new"
    chmod "$3" "$new"
    mv -f "$new" "$2/${1##*/}"
}

# ---- plugins

# is FILE EXECUTABLE: a hard link of it. Another suite's symbolic link may lead to a plugin of ours.
is() { [ ! -L "$1" ] && [ "$1" -ef "$2" ]; }
is_ours() { is "$1" "$suite" || is "$1" "$older"; }

link() {
    new=$plugins/.$1.new
    rm -f "$new"
    ln "$suite" "$new"
    mv -f "$new" "$plugins/$1"
}

# Another suite's plugin gets a second name first, for between a move and the link a container that
# starts would find none. That name is .new as long as the plugin itself may still be in its place.
replace() {
    kept=$before/.$1.new
    if there "$plugins/$1" && ! is_ours "$plugins/$1"; then
        mkdir -p "$before"
        ln "$plugins/$1" "$kept"
    fi
    link "$1"
    if there "$kept"; then mv -f "$kept" "$before/$1"; fi
}

give_back() {
    if there "$before/$1"; then mv -f "$before/$1" "$plugins/$1"; else rm -f "$plugins/$1"; fi
}

# What a run that was killed has left half done. Of its two versions the newer is in place.
settle_plugins() {
    for file in "$plugins"/.*.new; do
        if is_ours "$file"; then rm -f "$file"; fi
    done
    for kept in "$before"/.*.new; do
        there "$kept" || continue
        plugin=${kept##*/.}
        plugin=${plugin%.new}
        if is_ours "$plugins/$plugin"; then mv -f "$kept" "$before/$plugin"; else rm -f "$kept"; fi
    done
    [ -e "$older" ] || return 0
    for file in "$plugins"/*; do
        if is "$file" "$older" && ! is "$file" "$suite"; then link "${file##*/}"; fi
    done
    rm -f "$older"
}

put_plugins() {
    settle_plugins
    if [ -e "$suite" ]; then ln "$suite" "$older"; fi
    put "$from/cni/davit-cni-plugins" "$plugins" 755
    for plugin in $names; do replace "$plugin"; done
    for file in "$plugins"/*; do # a plugin that this version has no more
        if is "$file" "$older"; then give_back "${file##*/}"; fi
    done
    rm -f "$older"
}

remove_plugins() {
    settle_plugins
    for file in "$plugins"/*; do
        if [ "$file" != "$suite" ] && is_ours "$file"; then give_back "${file##*/}"; fi
    done
    rm -f "$plugins/.davit-cni-plugins.new" "$suite"
    [ -d "$before" ] || return 0
    for file in "$before"/*; do
        if there "$file"; then say "$file stays: ${file##*/} has come from somebody else since"; fi
    done
    rmdir "$before" 2>/dev/null || true
}

# ---- the network list

# In a subshell, for IFS.
check_subnet() (
    no() { fail "SUBNET=$subnet: expected an IPv4 network, as $own_subnet"; }
    length=${subnet##*/}
    case $length in [89] | [12][0-9] | 30) ;; *) no ;; esac
    IFS=.
    set -- ${subnet%/*}
    [ $# = 4 ] || no
    number=0
    for byte; do
        case $byte in [0-9] | [1-9][0-9] | [12][0-9][0-9]) ;; *) no ;; esac
        [ "$byte" -le 255 ] || no
        number=$((number * 256 + byte))
    done
    [ $((number % (1 << (32 - length)))) = 0 ] || no # host-local refuses it too, but at each pod
)

# The copy is there before the list is, under the name .new: a list that is like it is ours.
settle_list() {
    if cmp -s "$list" "$written.new" 2>/dev/null; then mv -f "$written.new" "$written"; fi
}

# What speaks against writing the list $new, if anything does.
objection() {
    if there "$list"; then
        cmp -s "$list" "$written" 2>/dev/null || cmp -s "$list" "$new" ||
            echo "$list was changed by somebody, and is left as it is"
    elif [ -e "$written" ]; then
        echo "$list was removed by somebody, and is not written again; without $written it is"
    else
        for file in "$networks"/*.conf "$networks"/*.conflist "$networks"/*.json; do
            there "$file" || continue
            echo "the node has a network, $file, and gets no other"
            break
        done
    fi
}

put_list() {
    settle_list
    new=$networks/.10-davit.conflist.new
    rm -f "$new" "$written.new"
    sed "s|\"$own_subnet\"|\"$subnet\"|" "$from/10-davit.conflist" >"$new"
    chmod 644 "$new"
    objection=$(objection)
    if [ -n "$objection" ]; then
        rm -f "$new"
        say "$objection"
        return
    fi
    cp -p "$new" "$written.new"
    sync
    mv -f "$new" "$list"
    mv -f "$written.new" "$written"
}

remove_list() {
    settle_list
    if cmp -s "$list" "$written" 2>/dev/null; then
        # Killed after this, it does not look as if somebody had removed the list.
        mv -f "$written" "$written.new"
        rm -f "$list"
    elif there "$list"; then
        say "$list was changed by somebody, and is left as it is"
    fi
    rm -f "$networks/.10-davit.conflist.new" "$written" "$written.new"
}

# ---- the two verbs

install_all() {
    for file in bin/davit bin/davit-cni cni/davit-cni-plugins 10-davit.conflist; do
        [ -f "$from/$file" ] || fail "no $from/$file"
    done
    names=$("$from/cni/davit-cni-plugins" --list) || fail "$from/cni/davit-cni-plugins does not run here"
    [ -n "$names" ] || fail "$from/cni/davit-cni-plugins --list names no plugin"
    check_subnet
    [ -d "$host" ] || fail "no directory $host: mount the node's directories there"
    mkdir -p "$programs" "$plugins" "$networks"
    lock
    put "$from/bin/davit" "$programs" 755
    put "$from/bin/davit-cni" "$programs" 755
    put_plugins
    put_list # last: with it the node calls itself ready
    sync
}

remove_all() {
    for directory in "$programs" "$plugins" "$networks"; do
        [ -d "$directory" ] || fail "no directory $directory: mount the node's there"
    done
    lock
    # They are stopped by it, and detached by the plugins.
    running=$(grep -sl '"/usr/local/bin/davit"' "$tasks"/*/*/options.json | wc -l)
    [ "$running" -eq 0 ] || fail "$running containers run under davit: drain the node first"
    remove_list
    remove_plugins
    for program in davit davit-cni; do rm -f "$programs/$program" "$programs/.$program.new"; done
    sync
}

case ${1:-} in
install) install_all ;;
remove) remove_all ;;
*) echo 'usage: install.sh install|remove' >&2; exit 2 ;;
esac
