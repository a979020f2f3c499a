# Where images are kept, and which of them is meant. Sourced by build, save, run and selftest.
#
# Everything in the cache has the key of its inputs in its name and comes there by one rename: what
# has the right name is whole and is not stale.
# shellcheck shell=bash disable=SC2034 # for who sources this

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }

vm=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
repository=$(dirname -- "$vm")
cache=${DAVIT_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/davit-vm}
[[ $cache == /* ]] || cache=$PWD/$cache
# It becomes part of a line of shell inside a string of JSON (machine.sh), for which there is no quoting.
[[ $cache != *[\'\"\\[:cntrl:]]* ]] || die "no quote, backslash or control character may be in the path of the cache: $cache"
suite=${VM_SUITE:-bookworm}
[[ $suite =~ ^[a-z][a-z0-9-]*$ ]] || die "VM_SUITE: $suite is no name of a suite"
# Debian's qemu before 8.1 loses a race when one guest processor patches code that another is about
# to run, and the guest hangs; it is also two to three times slower at what container tools do.
qemu_suite=trixie
memory=3072
cpus=2

key() { sha256sum | cut -c 1-16; }
# As a pattern: of the prefix image-bookworm it makes no image-bookworm-backports.
any_key=$(printf '[0-9a-f]%.0s' {1..16})
# Names, modes and contents of everything below a directory of vm/.
contents() { tar -C "$vm" --sort=name --mtime=@0 --owner=0 --group=0 --mode=go-w -cf - "$1"; }
# A list of words: comments end with their line.
words() { sed 's/#.*//' "$vm/$1" | tr -s ' \n' '\n' | grep . ; }
packages() {
    { words packages; [[ ! -e $vm/packages.$suite ]] || words "packages.$suite"; } | sort -u
}

tree_key=$({ echo "$suite"; packages; cat "$vm/lib/debian.sh"; } | key)
kernel_key=$({ echo "$suite"; cat "$vm/lib/kernel.sh" "$vm/modules.unwanted"; } | key)
image_key=$({ echo "$tree_key $kernel_key"; contents guest; cat "$vm"/units.* "$vm/lib/image.sh"; } | key)
qemu_key=$({ echo "$qemu_suite"; cat "$vm/lib/qemu.sh"; } | key)

tree=$cache/tree-$suite-$tree_key
kernel=$cache/kernel-$suite-$kernel_key
image=$cache/image-$suite-$image_key
emulator=$cache/qemu-$qemu_key
qemu=$emulator/qemu
[[ -x $qemu ]] || qemu="qemu-system-x86_64"
