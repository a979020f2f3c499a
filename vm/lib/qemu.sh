# The emulator: this machine's own if it is new enough, else a newer Debian's, unpacked with its
# libraries. Sourced by build.
# shellcheck shell=bash disable=SC2154 # settings.sh

# The program $1/qemu.
build_qemu() {
    local own=
    # A machine without one is no error, which pipefail would make of it.
    ! command -v qemu-system-x86_64 >/dev/null ||
        own=$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')
    if dpkg --compare-versions "${own:-0}" ge 8.1; then
        ln -s "$(command -v qemu-system-x86_64)" "$1/qemu"
        return
    fi
    debstrap "$1/root" "$qemu_suite" --variant=extract --include=qemu-system-x86
    cat >"$1/qemu" <<'END'
#!/bin/bash
# Runs the unpacked qemu with the libraries, modules and firmware that it came with.
root=$(dirname -- "$(readlink -f -- "$0")")/root
libraries=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$libraries/qemu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" \
    "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
END
    chmod 755 "$1/qemu"
    "$1/qemu" --version >/dev/null
}
