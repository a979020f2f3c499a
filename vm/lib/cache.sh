# What comes to the cache, stays and goes: it comes whole, by one rename; it stays while somebody holds
# it; and of what nobody holds, the oldest goes. Sourced by build, save and run.
# shellcheck shell=bash disable=SC2154 # settings.sh

# Makes a PLACE that is not there, by the function build_NAME. Who is killed leaves a directory that
# no name leads to.
stage() { # NAME PLACE
    local work began=$SECONDS
    if [[ -d $2 ]]; then
        touch -c -- "$2"
        say "$1: up to date"
        return
    fi
    say "$1: being made"
    # What is no directory was not made here.
    rm -f -- "$2"
    work=$(mktemp -d "$cache/new.XXXXXX")
    "build_$1" "$work"
    chmod 755 "$work"
    publish "$work" "$2"
    say "$1: made in $((SECONDS - began)) s"
}

# Gives what was made in a directory its name. It is on the disk by then: a name must not outlive a
# power cut that the files behind it do not.
publish() { # WORK PLACE
    sync -f "$1"
    mv -T -- "$1" "$2"
}

# Keeps a directory from being forgotten as long as this process lives, or one that it starts. Fails if
# there is none.
hold() { # DIRECTORY
    local lock
    while [[ -d $1 ]]; do
        exec {lock}<"$1" || return
        flock -s "$lock" || return
        # It may have been forgotten, and even made again, until the lock was had.
        if [[ $1 -ef /dev/fd/$lock ]]; then
            # Whose cache it is not does not keep it young.
            touch -c -- "$1" 2>/dev/null || true
            return 0
        fi
        exec {lock}<&-
    done
    return 1
}

# Of the directories PREFIX-KEY, removes all but the KEEP that were used last, and what somebody holds.
forget() { # KEEP PREFIX
    local directories old lock
    mapfile -d '' -t directories < <(
        find "${2%/*}" -maxdepth 1 -type d -name "${2##*/}-$any_key" -printf '%T@ %p\0' |
            sort -z -rn | cut -z -d ' ' -f 2-
    )
    for old in "${directories[@]:$1}"; do
        exec {lock}<"$old"
        if flock -x -n "$lock"; then rm -rf --one-file-system -- "$old"; fi
        exec {lock}<&-
    done
}
