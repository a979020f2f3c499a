# The private host of one client: no interface, mount, rule or network list of the machine's is
# touched. Run by operations.sh inside of new namespaces.
set -euo pipefail
OPERATIONS=$HERE/operations
mkdir -p "$DIR/bin"
export OPERATIONS HOME="$DIR/home" PATH="$DIR/bin:/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C.UTF-8
mkdir -p "$HOME"
unset XDG_RUNTIME_DIR
[ -z "${CRIU:-}" ] || ln -s "$CRIU" "$DIR/bin/criu"

ip link set lo up
mkdir "$DIR/run"
mount --bind /run "$DIR/run"
# Sockets, leases, locks and caches of the clients, none of which can be moved by every one of them.
for directory in /run /var/lib /opt; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
# Who asks systemd for units reaches it by its sockets and the bus's.
if [ -n "$SYSTEMD" ]; then
    for directory in /run/systemd /run/dbus; do
        mkdir "$directory"
        mount --bind "$DIR$directory" "$directory"
    done
fi
umount "$DIR/run"
# Podman makes stray directories in that tmpfs, and cannot remove a pod afterwards.
if [ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ]; then
    mount -o remount,bind,ro /sys/fs/cgroup
fi
mkdir -p "$DIR/etc" "$DIR/etc.work" /run/netns /run/lock /opt/cni/bin
mount -t overlay -o "lowerdir=/etc,upperdir=$DIR/etc,workdir=$DIR/etc.work" etc /etc
rm -rf /etc/cni /etc/containers /etc/containerd /etc/docker
mkdir -p /etc/cni/net.d /etc/containers
mount --bind "$PLUGINS" /opt/cni/bin
cd "$DIR" # dockerd leaves a file called oom where it runs
exec bash "$OPERATIONS/$CLIENT.sh"
