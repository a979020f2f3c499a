# Debian, installed into a directory. Sourced by build.
# shellcheck shell=bash disable=SC2154 # settings.sh

# The sources of suite $1 as one-line entries. Asking apt keeps every host name out of this script
# and follows whatever the machine has configured. A suite that the machine does not know is taken
# to lie beside its own.
apt_sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option='' own
    own=$(. /etc/os-release && echo "$VERSION_CODENAME")
    [[ ! -e $keyring ]] || option="[signed-by=$keyring] "
    # apt's own $(NAME) placeholders, not the shell's.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk -v suite="$1" -v own="$own" -v option="deb $option" '
            $2 == suite || index($2, suite "-") == 1 { known[$0] }
            $2 == own || index($2, own "-") == 1 { sub(own, suite, $2); guessed[$0] }
            END {
                for (entry in known) { print option entry; found = 1 }
                if (!found) for (entry in guessed) print option entry
            }'
}

# mmdebstrap into directory $1 from suite $2, with more options. debootstrap would not do: it knows
# one suite without its updates, and installs one package after the other.
debstrap() {
    local target=$1 from=$2 sources log=$cache/debian.log
    shift 2
    sources=$(apt_sources "$from")
    [[ -n $sources ]] || { say "apt has no source for $from"; return 1; }
    mmdebstrap --mode=root --format=directory --aptopt='APT::Install-Recommends "0"' \
        --skip=output/dev "$@" "$from" "$target" - <<<"$sources" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        return 1
    }
}

# The guest's system as an archive, before anything is changed in it.
build_tree() {
    debstrap "$1/tree" "$suite" --variant=minbase \
        --include="$(packages | paste -sd,)" \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*'
    rm -rf "$1"/tree/var/lib/apt/lists/* "$1"/tree/var/cache/apt/*
    tar -C "$1/tree" --xattrs --xattrs-include='*' --numeric-owner --one-file-system \
        -cf "$1/tree.tar" .
    rm -rf --one-file-system -- "$1/tree"
}
