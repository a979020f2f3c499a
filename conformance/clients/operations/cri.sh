# containerd's CRI, as a kubelet calls it, with a handler and a network list out of dist/.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
. "$OPERATIONS/cri-call.sh"
. "$OPERATIONS/cri-daemon.sh"
cri_config >"$DIR/config.toml"
start_containerd

. "$OPERATIONS/cri-pod.sh"
op 'import of images, and the CRI sees them' both_images
op 'Version and Status: runtime and network are ready' ready
warm_up
remember "${STATE[@]}"
. "$OPERATIONS/cri-container.sh"
. "$OPERATIONS/cri-stream.sh"
. "$OPERATIONS/cri-order.sh"
op 'nothing is left: links, rules, mounts, cgroups, addresses, states' await nothing_new "${STATE[@]}"
