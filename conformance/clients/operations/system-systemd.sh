# A Debian with systemd as its PID 1, below the machine's own systemd, by the runtime alone.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/systemd.sh"
version "$("$RUNTIME" --version | head -n 1)"
# The private host covers what tells of packages.
op 'a Debian of the packages of this machine' nsenter --target 1 --mount bash "$HERE/system-root.sh" "$DIR/system.tar"
op 'it boots to running in a user namespace, and stops' bash "$HERE/system-container.sh" "$RUNTIME" "$DIR/system.tar"
