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
status_is() { [ "$(inspect "$1" '{{.State.Status}}')" = "$2" ]; }
address_of() { inspect "$1" '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' | cut -d' ' -f1; }
log_holds() { tool logs "$1" 2>&1 | grep -q "$2"; }
sweep() {
    local name
    for name in cy cx; do
        tool unpause "$name"
        tool rm "${FORCE[@]}" "$name"
    done
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
