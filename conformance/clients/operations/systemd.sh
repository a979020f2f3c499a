# What a client asks the machine's systemd, if there is one. Sourced by the files of *-systemd after
# lib.sh. UNITS is the systemctl of that systemd; a user has another.
if [ -z "$SYSTEMD" ]; then
    op 'all operations' missing 'systemd as PID 1'
    exit
fi
version "$(systemctl --version | head -n 1)"
UNITS=(systemctl)

property() { "${UNITS[@]}" show --value --property "$2" "$1"; }
# holds VALUE UNIT PROPERTY: as systemd was told, whatever the cgroup says.
holds() {
    local value
    value=$(property "$2" "$3")
    [ "$value" = "$1" ] || { echo "$3 of $2 is ${value@Q}, not ${1@Q}"; return 1; }
}
is_forgotten() {
    holds not-found "$1" LoadState
    [ -z "$(find /sys/fs/cgroup -path "*$1")" ] || { echo "the cgroup of $1 is there"; return 1; }
}
