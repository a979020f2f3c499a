# What podman and Docker have in common, which is nearly all of their command line. Sourced by their
# files, which define tool() and set PARENT, the option that names the cgroup, and FORCE, which are
# those that remove a container at once.
B=localhost/busybox
version "$("$RUNTIME" --version | head -n 1)"

run() { tool run "${PARENT[@]}" "$@"; }
once() { run --rm "$@"; }
detached() { run --detach "$@" >/dev/null; } # without the ID that it prints
sleeper() { detached --name "$1" "${@:2}" "$B" sleep 600; }
remove() { tool rm "${FORCE[@]}" "$@" >/dev/null; }
inspect() { tool inspect --format "$2" "$1"; }
RUNTIME_OF=("$RUNTIME")
pid_of() { inspect "$1" '{{.State.Pid}}'; }
status_is() { [ "$(inspect "$1" '{{.State.Status}}')" = "$2" ]; }
# Nothing of the container is where the runtime keeps what it knows.
forgotten() { [ -z "$(find "${STATE[@]}" -maxdepth 2 -name "$1" 2>/dev/null)" ] || { echo "the runtime knows $1"; return 1; }; }
address_of() { inspect "$1" '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' | cut -d' ' -f1; }
log_holds() { tool logs "$1" 2>&1 | grep -q "$2"; }
sweep() { # all but those that later operations need
    local name
    for name in $(tool ps --quiet --filter status=paused); do # or what is only called so
        "${RUNTIME_OF[@]}" pause "$(inspect "$name" '{{.Id}}')"
        tool unpause "$name"
    done
    for name in $(tool ps --all --format '{{.Names}}'); do
        case $name in one | server | client | *-infra) continue ;; esac
        tool rm "${FORCE[@]}" "$name"
    done
    tool volume rm --force keeps copied
}

import_image() {
    mkdir -p "$DIR/image/bin" "$DIR/image/etc" "$DIR/image/tmp" "$DIR/image/root" "$DIR/image/data" "$DIR/image/mnt"
    cp /bin/busybox "$DIR/image/bin/"
    for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "$DIR/image/bin/$applet"; done
    echo from-the-image >"$DIR/image/data/file"
    printf 'root:x:0:0:root:/root:/bin/sh\nsomebody:x:1000:1001::/:/bin/sh\n' >"$DIR/image/etc/passwd"
    printf 'root:x:0:\nstaff:x:1001:\nextra:x:1002:somebody\n' >"$DIR/image/etc/group"
    chmod 1777 "$DIR/image/tmp"
    tar -C "$DIR/image" --owner=0 --group=0 --numeric-owner -cf "$DIR/image.tar" .
    chmod 644 "$DIR/image.tar"
    tool import --change 'ENV PATH=/bin' --change 'CMD ["sh"]' "$DIR/image.tar" "$B:latest"
}
