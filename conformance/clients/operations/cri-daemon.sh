# The containerd of a kubelet: handler and network list out of dist/. Sourced by cri.sh and
# ctr-systemd.sh.
has protoc
version "$(curl --version | cut -d' ' -f1,2 | head -n 1), $(protoc --version): there is no crictl in Debian"
NAMESPACE=k8s.io
PAUSE=localhost/pause:latest
BRIDGES=davit0
STATE=(/run/davit /run/containerd/runc/k8s.io /var/lib/cni/networks /var/lib/cni/results "$DIR/networks")

# cri_config [SED-EXPRESSION]: as the fragment tells, a full copy of the configuration and the fragment
# below it, its path replaced. In the copy, everything is below the client's directory, and what this
# host needs is changed: nobody here may lower a score, and the sandbox's image must not come from a
# registry.
cri_config() {
    containerd config default | sed -e "s|^root = .*|root = \"$DIR/root\"|; s|^state = .*|state = \"$DIR/state\"|" \
        -e "s|\"/run/containerd/containerd.sock\"|\"$SOCKET\"|; s|sandbox_image = .*|sandbox_image = \"$PAUSE\"|" \
        -e 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/; s/enable_unprivileged_ports = true/enable_unprivileged_ports = false/'
    sed -e "s|/usr/local/bin/davit|$RUNTIME|; ${1:-}" "$DIST/containerd/config-1.toml"
}
sed "s|/var/lib/cni/networks|$DIR/networks|" "$DIST/cni/10-davit.conflist" >/etc/cni/net.d/10-davit.conflist
