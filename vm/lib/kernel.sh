# Debian's kernel: an ELF file that the emulator starts as it is, and its modules. Sourced by build.
# shellcheck shell=bash disable=SC2154 # settings.sh

# The cloud flavour would be smaller, but has no 9p file system.
kernel_package=linux-image-amd64

# Unpacks the ELF kernel out of the bzImage $1 to $2: emulated, the kernel's own unpacking takes
# seconds. The setup header says where the payload lies.
unpack_vmlinux() {
    local bzimage=$1 elf=$2 sectors offset length
    sectors=$(($(od -An -tu1 -j 497 -N 1 "$bzimage")))
    offset=$(($(od -An -tu4 -j 584 -N 4 "$bzimage")))
    length=$(($(od -An -tu4 -j 588 -N 4 "$bzimage")))
    ((sectors)) || sectors=4
    # The payload ends in its unpacked size, four bytes which are no part of the compressed stream.
    tail -c +$(((sectors + 1) * 512 + offset + 1)) "$bzimage" | head -c $((length - 4)) >"$elf.z" || true
    case $(magic "$elf.z") in
    fd377a58) xz -dc --single-stream <"$elf.z" >"$elf" ;;
    28b52ffd) zstd -dcq <"$elf.z" >"$elf" ;;
    02214c18) lz4 -dcq <"$elf.z" >"$elf" ;;
    *) die 'the payload of the kernel is of an unknown format' ;;
    esac
    rm "$elf.z"
    [[ $(magic "$elf") == 7f454c46 ]] || die 'the payload of the kernel is no ELF file'
}
magic() { od -An -tx1 -N 4 "$1" | tr -d ' '; }

# $1/vmlinux and $1/modules, a root with nothing but usr/lib/modules.
build_kernel() {
    local release modules patterns
    debstrap "$1/package" "$suite" --variant=extract --include="$kernel_package"
    release=$(basename -- "$1"/package/boot/vmlinuz-*)
    release=${release#vmlinuz-}
    unpack_vmlinux "$1/package/boot/vmlinuz-$release" "$1/vmlinux"
    modules=$1/modules/usr/lib/modules/$release
    mkdir -p "$(dirname -- "$modules")"
    # Newer suites have no /lib of its own.
    mv "$(find "$1"/package/{usr/,}lib/modules -maxdepth 1 -name "$release" 2>/dev/null | head -n 1)" "$modules"
    mapfile -t patterns < <(words modules.unwanted)
    # The words are patterns with braces, which only eval takes after a variable.
    (cd "$modules/kernel" && eval "rm -rf -- ${patterns[*]}")
    find "$modules" -name '*.ko.xz' -exec xz -d -T1 {} +
    cp "$1/package/boot/config-$release" "$modules/config"
    [[ -n $(find "$modules" -name '9p.ko*') ]] || die "$kernel_package has no 9p, which carries the command"
    ln -s usr/lib "$1/modules/lib"
    depmod -b "$1/modules" "$release"
    rm -rf --one-file-system -- "$1/package"
}
