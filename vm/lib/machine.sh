# The emulated machine: its devices, and how it is given orders. Sourced by run and save.
#
# It has no way to the network: its one interface leads to qemu's user-mode network in restricted
# mode. The saved machine has its devices for good, so there are always as many.
# shellcheck shell=bash disable=SC2154 # settings.sh

max_shares=4

# One thread for each processor is quick, but not safe before 8.1 (settings.sh).
version=$("$qemu" --version 2>/dev/null | sed -n 's/.*version \([0-9.]*\).*/\1/p')
[[ -n $version ]] || die 'no qemu: make vm'
accel=tcg,thread=multi
[[ $(printf '%s\n' 8.1 "$version" | sort -V | head -n 1) == 8.1 ]] || accel=tcg,thread=single

# What has to be the same for a saved machine to be continued: it lies in its image, below the key of
# the emulator's bytes and of the devices.
emulator=$(dirname -- "$(readlink -f -- "$(command -v "$qemu")")")/root/usr/bin/qemu-system-x86_64
[[ -e $emulator ]] || emulator=$(command -v "$qemu")
saved=$image/saved-$({ echo "$memory $cpus $accel"; cat "$emulator" "$vm/lib/machine.sh"; } | key)

devices=()
add_9p() { # TAG DIRECTORY FSDEV-OPTIONS
    devices+=(
        -fsdev "local,id=$1,path=${2//,/,,},security_model=none$3"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
    )
}

# The processes of this run, and the directory $run of its pipes and files.
machine_pid=
readers=()
begin_run() {
    run=$(mktemp -d "${TMPDIR:-/tmp}/davit-vm.XXXXXX")
    trap end_run EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir "$run/job" "$run/nothing" "$run/tmp"
    mkfifo "$run"/{out,err} "$run"/{ctl,mon}.{in,out}
    # Both ends are held open, so that nothing here blocks and qemu never meets an end of file.
    exec 5<>"$run/ctl.in" 6<>"$run/ctl.out" 7<>"$run/mon.in" 8<>"$run/mon.out"
    console=${console:-$run/console}
}
# Ends only processes that were started here, each by its number.
# shellcheck disable=SC2317 # a trap
end_run() {
    [[ -z $machine_pid ]] || kill -KILL "$machine_pid" 2>/dev/null || true
    ((${#readers[@]} == 0)) || kill "${readers[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf --one-file-system -- "$run"
}

# Starts it: MEMORY-BACKEND and DISK, as qemu takes them, and more of qemu's arguments.
start_machine() {
    local ram=$1 disk=$2 append=$3
    shift 3
    # TMPDIR is where qemu puts what a snapshot=on disk writes. Should this script be killed
    # outright, qemu goes with it.
    TMPDIR=$run/tmp setpriv --pdeathsig KILL -- "$qemu" \
        -name testbed -nodefaults -no-user-config -display none -no-reboot \
        -machine 'q35,memory-backend=ram,sata=off,smbus=off,i8042=off,vmport=off' \
        -accel "$accel" -cpu max -smp "$cpus" -m "$memory" \
        -object "$ram,id=ram,size=${memory}M" \
        -kernel "$image/vmlinux" -initrd "$image/initrd" \
        -append "$(<"$image/arguments") $append" \
        -drive "if=none,id=root,format=raw,cache=unsafe,$disk" \
        -device 'virtio-blk-pci,drive=root' \
        -netdev 'user,id=net0,restrict=on' \
        -device 'virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:00:01' \
        -device virtio-rng-pci \
        -device 'vmgenid,guid=auto' \
        -device virtio-serial-pci \
        -chardev "pipe,id=ctl,path=$run/ctl" -device 'virtserialport,chardev=ctl,name=vm.ctl' \
        -chardev "file,id=out,path=$run/out" -device 'virtserialport,chardev=out,name=vm.out' \
        -chardev "file,id=err,path=$run/err" -device 'virtserialport,chardev=err,name=vm.err' \
        -serial "file:$console" \
        -chardev "pipe,id=mon,path=$run/mon" -mon 'chardev=mon,mode=control' \
        "${devices[@]}" "$@" </dev/null >"$run/qemu.log" 2>&1 9<&- &
    machine_pid=$!
}

# Ends this script with what the machine said last.
fail() { # WHY STATUS
    say "$1"
    tail -n 20 "$run/qemu.log" "$console" 2>/dev/null | tr -d '\r' >&2 || true
    exit "${2:-125}"
}

# Gives qemu a command, in JSON.
qmp() { printf '{"execute":"%s","arguments":%s}\n' "$1" "${2:-{\}}" >&7; }
# Reads what qemu reports until its migration has ended, well or not.
await_migration() {
    local line
    while read -r -t "$timeout" -u 8 line; do
        case $line in
        *'"status": "completed"'*) return 0 ;;
        *'"status": "failed"'* | *'"error"'*) say "qemu: $line"; return 1 ;;
        esac
    done
    return 1
}
# With these, a migration leaves the memory out of its stream, for that is in a file of its own
# already, and reports how it goes.
prepare_migration() {
    qmp qmp_capabilities
    qmp migrate-set-capabilities '{"capabilities":[
        {"capability":"x-ignore-shared","state":true},
        {"capability":"events","state":true}]}'
}
