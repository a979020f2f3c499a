# podman by a user of no rights, made here.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/podman-host.sh"
for needed in newuidmap slirp4netns fuse-overlayfs setpriv; do has "$needed"; done
PARENT=() FORCE=(--force --time 0) TOOL=(as_user podman) NETWORK=ours
U=dvt-user
USER_RUN=/run/user/4242

# What rootless podman asks of a machine, and this private host has not by itself.
useradd --create-home --home-dir "$DIR/user" --uid 4242 --shell /bin/bash "$U"
grep -q "^$U:" /etc/subuid || echo "$U:200000:65536" | tee -a /etc/subuid >>/etc/subgid
mkdir -p "$USER_RUN" "$DIR/user/shared"
mount -t tmpfs -o "mode=700,uid=4242,gid=4242" tmpfs "$USER_RUN"
chown "$U:" "$DIR/user/shared"
SHARED=$DIR/user/shared
mount --make-rshared /
mknod -m 666 "$DIR/tun" c 10 200
mount --bind "$DIR/tun" /dev/net/tun
[ ! -c /dev/fuse ] || { mknod -m 666 "$DIR/fuse" c 10 229; mount --bind "$DIR/fuse" /dev/fuse; }
rm /etc/containers/storage.conf # the user's own, below its home
install -m 755 "$RUNTIME" "$DIR/bin/$NAME" # the user may not look into everybody's directories
sed -i "s|$RUNTIME|$DIR/bin/$NAME|" /etc/containers/containers.conf.d/davit.conf
# In version 2, a part of the tree that is his, as a login gives him one: his commands run in a leaf of it.
GROUP=
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    GROUP=/sys/fs/cgroup/$ID
    mkdir -p "$GROUP/session"
    for parent in /sys/fs/cgroup "$GROUP"; do echo '+cpu +cpuset +io +memory +pids' >"$parent/cgroup.subtree_control"; done
    chown "$U:" "$GROUP"{,/session} "$GROUP"{,/session}/cgroup.{procs,threads,subtree_control}
fi

cat >"$DIR/bin/as_user" <<END
#!/bin/sh
cd "$DIR/user"
[ -z "$GROUP" ] || echo \$\$ >"$GROUP/session/cgroup.procs"
exec setpriv --reuid 4242 --regid 4242 --init-groups env -i PATH="$PATH" HOME="$DIR/user" USER=$U \
    XDG_RUNTIME_DIR="$USER_RUN" LC_ALL=C.UTF-8 TERM=dumb "\$@"
END
chmod 755 "$DIR/bin/as_user"
tool() { bounded as_user podman "$@"; }
. "$OPERATIONS/engine.sh"
version "$(podman --version)"
version "$(slirp4netns --version | head -n 1)"
STATE=("$USER_RUN/runc" "$USER_RUN/davit") RUNTIME_OF=(tool unshare "$DIR/bin/$NAME")

op 'import' import_image
op 'unshare: user and group IDs' says ' 65536' tool unshare cat /proc/self/uid_map
tool network create --subnet 10.77.0.0/24 ours >/dev/null 2>&1
once --network ours "$B" true
tool unshare readlink /proc/self/ns/net >/dev/null
remember "${STATE[@]}"
. "$OPERATIONS/engine-run.sh"
. "$OPERATIONS/engine-life.sh"
. "$OPERATIONS/podman-rootless-net.sh"
. "$OPERATIONS/podman-own.sh"
. "$OPERATIONS/podman-pod.sh"
op 'nothing is left: links, rules, mounts, cgroups, states' nothing_new "${STATE[@]}"
. "$OPERATIONS/podman-end.sh"
