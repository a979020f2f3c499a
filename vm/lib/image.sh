# The root disk: Debian, the kernel's modules and the guest's own files; and the initramfs that leads
# there. Sourced by build.
# shellcheck shell=bash disable=SC2154 # settings.sh

disk_size=8G
# Die on a panic, believe the emulated clock, and leave out work that is pointless or dear under
# emulation. khugepaged would dirty, minutes later, memory that nobody writes: a pre-dump of CRIU looks.
kernel_arguments='console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 tsc=reliable no_timer_check
    transparent_hugepage=madvise mitigations=off init_on_alloc=0 rcupdate.rcu_expedited=1 systemd.show_status=0
    security=apparmor apparmor=1'
# In this order.
initrd_modules=(virtio_pci virtio_blk ext4)

# $1/{root.img,vmlinux,initrd,arguments}: all that a machine is started from.
build_image() {
    local root=$1/root
    mkdir "$root"
    tar -C "$root" --xattrs --xattrs-include='*' --numeric-owner -xpf "$tree/tree.tar"
    mkdir -p "$root/usr/lib/modules"
    cp -a "$kernel/modules/usr/lib/modules/." "$root/usr/lib/modules/"
    build_initrd "$1/initrd" "$root/bin/busybox"
    customize "$root"
    truncate -s "$disk_size" "$1/root.img"
    # No journal: the disk is never written to twice.
    mke2fs -q -t ext4 -O '^has_journal' -m 0 -L testbed -E lazy_itable_init=1,nodiscard \
        -d "$root" -F "$1/root.img"
    ln "$kernel/vmlinux" "$1/vmlinux"
    # One line, single blanks.
    # shellcheck disable=SC2086
    echo $kernel_arguments >"$1/arguments"
    rm -rf --one-file-system -- "$root"
}

build_initrd() { # FILE BUSYBOX
    local into=$1.d release module
    release=$(basename -- "$kernel"/modules/usr/lib/modules/*)
    mkdir -p "$into"/{bin,dev,proc,sys,root,modules}
    cp "$2" "$into/bin/busybox"
    for module in "${initrd_modules[@]}"; do
        # A built-in module prints "builtin NAME".
        modprobe -d "$kernel/modules" -S "$release" --show-depends "$module" |
            awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++' | while read -r module; do
        cp "$module" "$into/modules/"
        basename -- "$module" >>"$into/modules/order"
    done
    install -m 755 "$vm/guest/init" "$into/init"
    mknod -m 600 "$into/dev/console" c 5 1
    (cd "$into" && find . -print0 | cpio --quiet -0 -o -H newc) >"$1"
    rm -rf -- "$into"
}

# Makes the guest of the tree $1.
customize() {
    local root=$1 unit
    cp -a --no-preserve=ownership "$vm/guest/files/." "$root/"
    # Whoever checked this out may have another umask, and git keeps no modes.
    (cd "$vm/guest/files" && find . -type d -print0) | (cd "$root" && xargs -0 chmod 755)
    (cd "$vm/guest/files" && find . -type f -print0) | (cd "$root" && xargs -0 chmod go=u-w)
    # An empty /etc/machine-id makes systemd take the boot for a first; this one is ours.
    rm -f "$root/var/lib/dbus/machine-id"
    for unit in $(words units.unwanted); do ln -sfn /dev/null "$root/etc/systemd/system/$unit"; done
    for unit in $(words units.idle); do
        rm -f "$root"/etc/systemd/{system,user}/*.wants/"$unit"
    done
    # An ordinary user with subordinate ids whose service manager is always up.
    chroot "$root" useradd -m -u 1000 -s /bin/bash tester
    cp "$vm"/guest/files/etc/sub?id "$root/etc/"
    mkdir -p "$root/var/lib/systemd/linger"
    : >"$root/var/lib/systemd/linger/tester"
    make_busybox_root "$root"
}

# A root file system for bundles and `podman import`.
make_busybox_root() {
    local into=$1/usr/local/share/testbed/busybox applet
    mkdir -p "$into"/{bin,dev,etc,proc,root,sys,tmp,usr,var}
    chmod 1777 "$into/tmp"
    cp "$1/bin/busybox" "$into/bin/busybox"
    for applet in $(chroot "$1" /bin/busybox --list); do
        [[ -e $into/bin/$applet ]] || ln -s busybox "$into/bin/$applet"
    done
    ln -s bin "$into/sbin"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$into/etc/passwd"
    printf 'root:x:0:\n' >"$into/etc/group"
    tar -C "$into" --numeric-owner -cf "$into.tar" .
}
