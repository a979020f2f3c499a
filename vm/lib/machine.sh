# The emulated machine: its devices, how it is given orders, and how its end is noticed. Sourced by
# run and save.
#
# It has no way to the network: its one interface leads to qemu's user-mode network in restricted
# mode. The saved machine has its devices for good, so there are always as many.
#
# A machine can die at any moment, and can hang. So nothing here waits for one alone: whoever reads
# looks whether it still runs, and a watchdog ends it when the time is over.
# shellcheck shell=bash disable=SC2034,SC2154 # settings.sh, and who sources this

max_shares=4

# Asks for the emulator's version: sets $accel, and $saved, the place of what it has saved.
find_emulator() {
    local version program
    version=$("$qemu" --version 2>/dev/null | sed -n 's/.*version \([0-9.]*\).*/\1/p') || true
    [[ -n $version ]] || die 'no qemu: make vm'
    # One thread for each processor is quick, but not safe before 8.1 (settings.sh).
    accel=tcg,thread=multi
    [[ $(printf '%s\n' 8.1 "$version" | sort -V | head -n 1) == 8.1 ]] || accel=tcg,thread=single
    # What has to be the same for a saved machine to be continued: it lies in its image, below the key
    # of the emulator's bytes and of the devices.
    program=$(dirname -- "$(readlink -f -- "$(command -v "$qemu")")")/root/usr/bin/qemu-system-x86_64
    [[ -e $program ]] || program=$(command -v "$qemu")
    saved=$image/saved-$({ echo "$memory $cpus $accel"; cat "$program" "$vm/lib/machine.sh"; } | key)
}

# A value inside one of qemu's lists of options, where a comma would end it.
value() { printf '%s' "${1//,/,,}"; }

devices=()
add_9p() { # TAG DIRECTORY FSDEV-OPTIONS
    devices+=(
        -fsdev "local,id=$1,path=$(value "$2"),security_model=none$3"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
    )
}

# The processes of this run, and the directory $run of its pipes and files. The directory is ours
# alone; only the job in it is for the guest, whose ordinary user reads it too.
machine_pid='' watchdog='' readers=()
begin_run() {
    run=$(mktemp -d "${TMPDIR:-/tmp}/davit-vm.XXXXXX")
    trap end_run EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -m 755 "$run/job"
    mkdir "$run/nothing" "$run/tmp"
    mkfifo "$run"/{out,err,never} "$run"/{ctl,mon}.{in,out}
    # Both ends are held open, so that nothing here blocks and qemu never meets an end of file.
    exec 3<>"$run/out" 4<>"$run/err"
    exec 5<>"$run/ctl.in" 6<>"$run/ctl.out" 7<>"$run/mon.in" 8<>"$run/mon.out"
    console=${console:-$run/console}
}
# Ends only processes that were started here, each by its number.
# shellcheck disable=SC2317 # a trap
end_run() {
    # Unquoted: what was not started has no number.
    # shellcheck disable=SC2086
    kill -KILL $machine_pid $watchdog "${readers[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf --one-file-system -- "$run"
}

# A process that goes with this script, even should that be killed outright.
bound() { exec setpriv --pdeathsig KILL -- "$@"; }

# Copies what the guest writes to STREAM. Whoever does it opens the pipe while he has both its ends
# himself: otherwise he would wait for ever if the machine ended before it opened its own.
follow() { # STREAM
    cat <"$run/$1" 3>&- 4>&- &
    readers+=($!)
}

# Starts it: MEMORY-BACKEND and DISK, as qemu takes them, and more of qemu's arguments. It has $timeout
# seconds from now on.
start_machine() {
    # Neither holds the streams open, or they would not end, or have a reader after their reader.
    emulate "$@" </dev/null >"$run/qemu.log" 2>&1 3>&- 4>&- &
    machine_pid=$!
    watch "$machine_pid" >/dev/null 2>&1 3>&- 4>&- &
    watchdog=$!
    until [[ ${line-} == *'"QMP"'* ]]; do hear 8 || fail 'qemu did not start'; done
    # By now qemu has its ends of them, and they end with it.
    exec 3>&- 4>&-
}
emulate() {
    local ram=$1 disk=$2 append=$3
    shift 3
    # TMPDIR is where qemu puts what a snapshot=on disk writes.
    export TMPDIR=$run/tmp
    bound "$qemu" \
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
        -chardev "pipe,id=ctl,path=$(value "$run/ctl")" -device 'virtserialport,chardev=ctl,name=vm.ctl' \
        -chardev "file,id=out,path=$(value "$run/out")" -device 'virtserialport,chardev=out,name=vm.out' \
        -chardev "file,id=err,path=$(value "$run/err")" -device 'virtserialport,chardev=err,name=vm.err' \
        -chardev "file,id=console,path=$(value "$console")" -serial chardev:console \
        -chardev "pipe,id=mon,path=$(value "$run/mon")" -mon 'chardev=mon,mode=control' \
        "${devices[@]}" "$@"
}
# The watchdog: sleeps by reading what nobody writes, for a sleep would be a process of its own.
watch() { # PID
    # shellcheck disable=SC2016 # its own
    bound bash -c 'read -r -t "$1" <>"$2/never"; : >"$2/late"; kill -KILL "$3"' watchdog "$timeout" "$run" "$1"
}

machine_runs() { kill -0 "$machine_pid" 2>/dev/null; }

# The next $line that the machine says on a descriptor; fails when it has ended.
hear() { # DESCRIPTOR
    local part
    line=
    until read -r -t 1 -u "$1" part; do
        line+=$part
        machine_runs || { await_end || true; return 1; }
    done
    line+=$part
}

# Waits for the machine's end, and ends its watchdog; the status is the emulator's.
await_end() {
    local status=0
    # bash would tell of each that it was killed.
    {
        wait "$machine_pid" || status=$?
        kill -KILL "$watchdog" && wait "$watchdog"
    } 2>/dev/null || true
    machine_pid='' watchdog=''
    return "$status"
}

# Ends this script with what the machine said last.
fail() { # WHY
    local why=$1 status=125
    [[ ! -e $run/late ]] || why="no end after $timeout s" status=124
    say "$why"
    tail -n 20 "$run/qemu.log" "$console" 2>/dev/null | tr -d '\r' >&2 || true
    exit "$status"
}

# Gives qemu a command, in JSON.
qmp() { printf '{"execute":"%s","arguments":%s}\n' "$1" "${2:-{\}}" >&7; }
# Reads what qemu reports until its migration has ended well.
await_migration() { # WHAT-IF-NOT
    while hear 8; do
        case $line in
        *'"status": "completed"'*) return ;;
        *'"status": "failed"'* | *'"error"'*) say "qemu: $line"; break ;;
        esac
    done
    fail "$1"
}
# With these, a migration leaves the memory out of its stream, for that is in a file of its own
# already, and reports how it goes.
prepare_migration() {
    qmp qmp_capabilities
    qmp migrate-set-capabilities '{"capabilities":[
        {"capability":"x-ignore-shared","state":true},
        {"capability":"events","state":true}]}'
}
