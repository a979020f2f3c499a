# containerd's CRI, as a kubelet calls it, with a handler and a network list out of dist/.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
. "$OPERATIONS/cri-call.sh"
has protoc
version "$(curl --version | cut -d' ' -f1,2 | head -n 1), $(protoc --version): there is no crictl in Debian"
NAMESPACE=k8s.io
PAUSE=localhost/pause:latest
BRIDGES=davit0
STATE=(/run/davit /run/containerd/runc/k8s.io /var/lib/cni/networks /var/lib/cni/results)
sed "s|/var/lib/cni/networks|$DIR/networks|" "$DIST/cni/10-davit.conflist" >/etc/cni/net.d/10-davit.conflist
STATE+=("$DIR/networks")

# The fragment as it is shipped, its paths replaced, and what this host needs in the same table:
# nobody here may lower a score, and the sandbox's image must not come from a registry.
{
    containerd_config
    sed -e "s|/usr/local/bin/davit|$RUNTIME|; s|/usr/local/libexec/cni|/opt/cni/bin|" \
        -e "/^\[plugins.\"io.containerd.grpc.v1.cri\"\]/a restrict_oom_score_adj = true\nsandbox_image = \"$PAUSE\"\nenable_unprivileged_ports = false" \
        "$DIST/containerd/config-1.toml"
} >"$DIR/config.toml"
start_containerd

. "$OPERATIONS/cri-pod.sh"
op 'import of images, and the CRI sees them' both_images
op 'Version and Status: runtime and network are ready' ready
warm_up
remember "${STATE[@]}"
. "$OPERATIONS/cri-container.sh"
. "$OPERATIONS/cri-order.sh"
op 'nothing is left: links, rules, mounts, cgroups, addresses, states' await nothing_new "${STATE[@]}"
