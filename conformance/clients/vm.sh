#!/bin/sh
# Judges a runtime inside a virtual machine that has what this one may lack (cgroup v2, systemd,
# AppArmor): vm.sh RUNTIME [ARGUMENT OF oci-conformance...], for example: vm.sh target/.../davit F170
# Or a directory of plugins, for kernel features: vm.sh out/cni VL, or vm.sh guest:/usr/lib/cni VL.
#
# RUN_IN_VM names a program that runs a command in such a machine and shows a directory there:
# run-in-vm.sh -s DIRECTORY:PATH [-t SECONDS] -- COMMAND. A RUNTIME without a slash is the guest's own.
# The suite comes from SUITE, or from where `cargo build -p conformance` put it.
set -eu
: "${RUN_IN_VM:?set it to a program that runs a command in a virtual machine}"
runtime=$1
shift
here=$(cd -- "$(dirname -- "$0")/../.." && pwd)
suite=${SUITE:-$here/target/$(uname -m)-unknown-linux-gnu/debug/oci-conformance}
share=$(mktemp -d)
trap 'rm -rf -- "$share"' EXIT
# Copies: a build may replace the originals while the machine runs. Without the debugging
# information, which an emulated machine takes long to read.
strip -o "$share/oci-conformance" "$suite"
option=--runtime
case $runtime in
guest:*)
    option=--cni-path runtime=${runtime#guest:}
    ;;
*/*)
    if [ -d "$runtime" ]; then
        # Links stay links: a suite may be one file.
        (cd "$runtime" && tar -cf "$share/plugins.tar" .)
        option=--cni-path runtime=/var/tmp/judged/plugins
    else
        strip -o "$share/${runtime##*/}" "$runtime"
        runtime=/mnt/judged/${runtime##*/}
    fi
    ;;
esac
# The share is read-only and slow: both programs run from the guest's own disk.
"$RUN_IN_VM" -t "${VM_TIMEOUT:-280}" -s "$share:/mnt/judged" -- sh -ec '
    mkdir -p /var/tmp/judged
    cp /mnt/judged/* /var/tmp/judged
    if [ -e /var/tmp/judged/plugins.tar ]; then
        mkdir /var/tmp/judged/plugins
        tar -xf /var/tmp/judged/plugins.tar -C /var/tmp/judged/plugins
    fi
    option=$1 runtime=$2
    shift 2
    case $runtime in /mnt/judged/*) runtime=/var/tmp/judged/${runtime##*/} ;; esac
    exec /var/tmp/judged/oci-conformance "$option" "$runtime" "$@"' sh "$option" "$runtime" "$@"
