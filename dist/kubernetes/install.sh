#!/bin/sh
# Puts davit onto a node, or takes its network list away: install.sh install|remove
# FROM holds bin/davit, bin/davit-cni, cni/davit-cni-plugins and 10-davit.conflist; HOST is where the
# node's directories are mounted.
set -eu
from=${FROM:-/davit} host=${HOST:-/host}
list=$host/etc/cni/net.d/10-davit.conflist

# put FILE DIRECTORY MODE: by rename within the directory, so that nobody finds half a file, and
# what runs at this moment keeps its own.
put() {
    new=$2/.${1##*/}.new
    cp "$1" "$new"
    chmod "$3" "$new"
    mv -f "$new" "$2/${1##*/}"
}

put_plugins() {
    directory=$host/opt/cni/bin
    put "$from/cni/davit-cni-plugins" "$directory" 755
    "$directory/davit-cni-plugins" --list | while read -r plugin; do
        ln -f "$directory/davit-cni-plugins" "$directory/.$plugin.new"
        mv -f "$directory/.$plugin.new" "$directory/$plugin"
        rm -f "$directory/.$plugin.new" # mv does nothing if both are one file already
    done
}

install_all() {
    mkdir -p "$host/usr/local/bin" "$host/opt/cni/bin" "$host/etc/cni/net.d"
    put "$from/bin/davit" "$host/usr/local/bin" 755
    put "$from/bin/davit-cni" "$host/usr/local/bin" 755
    put_plugins
    # The list comes last: with it the node calls itself ready. One that somebody changed stays.
    if [ ! -e "$list" ]; then
        put "$from/10-davit.conflist" "$host/etc/cni/net.d" 644
    elif ! cmp -s "$from/10-davit.conflist" "$list"; then
        echo "install.sh: $list is not the one that comes with this version, and is left as it is"
    fi
    sync
}

# Programs stay: the containers that run are stopped and detached with them.
remove_list() {
    if [ ! -e "$list" ]; then
        echo "install.sh: no $list"
    elif cmp -s "$from/10-davit.conflist" "$list"; then
        rm "$list"
    else
        echo "install.sh: $list was changed by somebody, and is left as it is"
    fi
}

case ${1:-} in
install) install_all ;;
remove) remove_list ;;
*) echo 'usage: install.sh install|remove' >&2; exit 2 ;;
esac
