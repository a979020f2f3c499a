#!/bin/sh
# Puts the suite into a directory: one file, and a link for each plugin that it contains.
#   install-plugins.sh EXECUTABLE DIRECTORY
set -eu
executable=$1 directory=$2
mkdir -p "$directory"
# By rename: a plugin that is running at this moment keeps its file.
install -m 755 "$executable" "$directory/.davit-cni-plugins.new"
mv -f "$directory/.davit-cni-plugins.new" "$directory/davit-cni-plugins"
"$directory/davit-cni-plugins" --list | while read -r plugin; do
    ln -f "$directory/davit-cni-plugins" "$directory/.$plugin.new"
    mv -f "$directory/.$plugin.new" "$directory/$plugin"
done
