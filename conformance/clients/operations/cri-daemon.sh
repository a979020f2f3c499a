# The containerd of a kubelet: handler and network list out of dist/. Sourced by cri.sh and
# ctr-systemd.sh.
has protoc
version "$(curl --version | cut -d' ' -f1,2 | head -n 1), $(protoc --version): there is no crictl in Debian"
NAMESPACE=k8s.io
PAUSE=localhost/pause:latest
BRIDGES=davit0
STATE=(/run/davit /run/containerd/runc/k8s.io /var/lib/cni/networks /var/lib/cni/results "$DIR/networks")

# cri_config [SED-EXPRESSION]: the fragment as it is shipped, its paths replaced, and what this host
# needs in the same table: nobody here may lower a score, and the sandbox's image must not come from
# a registry.
cri_config() {
    containerd_config
    sed -e "s|/usr/local/bin/davit|$RUNTIME|; s|/usr/local/libexec/cni|/opt/cni/bin|" \
        -e "/^\[plugins.\"io.containerd.grpc.v1.cri\"\]/a restrict_oom_score_adj = true\nsandbox_image = \"$PAUSE\"\nenable_unprivileged_ports = false" \
        -e "${1:-}" "$DIST/containerd/config-1.toml"
}
sed "s|/var/lib/cni/networks|$DIR/networks|" "$DIST/cni/10-davit.conflist" >/etc/cni/net.d/10-davit.conflist
