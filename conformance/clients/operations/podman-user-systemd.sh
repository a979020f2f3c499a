# podman by a user made here, with a systemd of his own. Nothing around him is private: his systemd
# starts healthchecks on the machine itself, so his podman runs there too, as after a login.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/systemd.sh"
for needed in newuidmap slirp4netns setpriv loginctl; do has "$needed"; done
NAME=$(basename "$RUNTIME") U=dvt$$
on_machine() { nsenter --target 1 --mount --net --ipc "$@"; }
fetch() { on_machine timeout 10 curl -sS -m 5 "$@"; }
end_of_user() {
    set +e
    as_user podman rm --all --force --time 0
    on_machine loginctl disable-linger "$U"
    on_machine loginctl terminate-user "$U"
    timeout 20 systemctl stop "user@$(id_of_user).service"
    on_machine userdel "$U"
} >/dev/null 2>&1
id_of_user() { on_machine id --user "$U"; }
trap end_of_user EXIT

on_machine useradd --create-home --home-dir "$DIR/user" --shell /bin/bash "$U"
NUMBER=$(id_of_user) GROUP=$(on_machine id --group "$U")
USER_RUN=/run/user/$NUMBER SHARED=$DIR/user/shared
on_machine loginctl enable-linger "$U"
await on_machine test -S "$USER_RUN/bus"
install -m 755 "$RUNTIME" "$DIR/bin/$NAME" # the user may not look into everybody's directories
mkdir -p "$SHARED" "$DIR/user/.config/containers/containers.conf.d"
sed -e "s|/usr/local/bin/davit|$DIR/bin/$NAME|; s|= \"davit\"$|= \"$NAME\"|; s|^davit = |$NAME = |" \
    "$DIST/podman/davit.conf" >"$DIR/user/.config/containers/containers.conf.d/davit.conf"
printf '[engine]\ncgroup_manager = "systemd"\nevents_logger = "file"\n' >"$DIR/user/.config/containers/containers.conf"
echo '{ "default": [ { "type": "insecureAcceptAnything" } ] }' >"$DIR/user/.config/containers/policy.json"
chown -R "$NUMBER:$GROUP" "$DIR/user"
# His commands come from a unit of his own systemd, as from his login.
cat >"$DIR/bin/as_user" <<END
#!/bin/sh
[ -z "\$SESSION" ] || echo \$\$ >"/sys/fs/cgroup\$SESSION/cgroup.procs"
exec nsenter --target 1 --mount --net --ipc --wd="$DIR/user" setpriv --reuid $NUMBER --regid $GROUP --init-groups \
    env -i PATH="$PATH" HOME="$DIR/user" USER=$U XDG_RUNTIME_DIR="$USER_RUN" LC_ALL=C.UTF-8 TERM=dumb \
    DBUS_SESSION_BUS_ADDRESS="unix:path=$USER_RUN/bus" "\$@"
END
chmod 755 "$DIR/bin/as_user"
SESSION='' as_user systemd-run --user --quiet --unit=session --property=Delegate=yes sleep infinity
SESSION=$(SESSION='' as_user systemctl --user show --value --property ControlGroup session)
export SESSION

SLICE=user.slice PARENT=() UNITS=(as_user systemctl --user) SCOPE=libpod- ROOTLESS=1
FORCE=(--force --time 0) TOOL=(as_user podman)
tool() { bounded as_user podman "$@"; }
. "$OPERATIONS/engine.sh"
forgotten() { refuses on_machine test -e "$USER_RUN/$NAME/$1"; }
version "$(podman --version)"

published() {
    detached --name cx --publish 127.0.0.1:18081:80 "$B" httpd -f -p 80 -h /etc
    await fetch http://127.0.0.1:18081/passwd
    remove cx
    refuses fetch http://127.0.0.1:18081/passwd
}
healthy() { # by a timer of his systemd, and no hand
    sleeper cx --health-cmd 'test -e /tmp/well' --health-interval 2s --health-retries 1
    tool exec cx touch /tmp/well
    await says healthy inspect cx '{{.State.Health.Status}}'
    tool exec cx rm /tmp/well
    await says unhealthy inspect cx '{{.State.Health.Status}}'
    remove cx
}
no_state() {
    local left
    left=$(on_machine find "$USER_RUN/$NAME" -mindepth 1 -maxdepth 1 ! -name '~seccomp' ! -name '.*')
    [ -z "$left" ] || { echo "$left"; return 1; }
}

op 'import' import_image
op 'info: systemd, version 2, the runtime' says "systemd v2 $NAME" tool info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}} {{.Host.OCIRuntime.Name}}'
once "$B" true
. "$OPERATIONS/engine-systemd.sh"
. "$OPERATIONS/engine-life.sh"
op 'run --publish' published
op 'healthcheck, by a timer' healthy
. "$OPERATIONS/podman-pod.sh"
op 'nothing is left: units' await no_unit
op 'nothing is left: states' await no_state
op 'system reset' tool system reset --force
op 'nothing is left after the reset: units' await no_unit
