#!/bin/sh
# In the guest: judges what `test` has carried in. Its arguments are the suite's; $LIMIT is in seconds.
set -u
mkdir -p /var/tmp/judged
# The share is slow to read: everything runs from the guest's own disk.
cd /var/tmp/judged && tar -xmf /mnt/judged/all.tar || exit 125
# A device for rdma.max, which any network interface can play.
modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0
# A scheduler that has weights, for the disk.
modprobe bfq && echo bfq >/sys/block/vda/queue/scheduler
# Interrupted, the suite still tells what it has seen so far.
exec timeout -s INT "$LIMIT" ./oci-conformance --jobs "$JOBS" --patience 4 --runtime "$PWD/out/bin/davit" \
    --cni-path "$PWD/out/cni" --caller "$PWD/out/bin/davit-cni" --hook "$PWD/out/bin/davit-cni" \
    --format json --output "$OUT/report.json" "$@" >"$OUT/report.txt"
