# Podman's configuration: what dist/ ships, with its paths replaced, and what this host needs beside
# it. Sourced by podman.sh and podman-rootless.sh.
mkdir -p /etc/containers/containers.conf.d
NAME=$(basename "$RUNTIME")
# Podman 5 has netavark and no CNI, and refuses a configuration that names one.
case $(podman --version) in *' '[1-4].*) NETWORKS= ;; *) NETWORKS='/^\[network\]/,$ d' ;; esac
sed -e "s|/usr/local/bin/davit|$RUNTIME|; s|/usr/local/libexec/cni|/opt/cni/bin|" -e "s|= \"davit\"$|= \"$NAME\"|; s|^davit = |$NAME = |" -e "$NETWORKS" \
    "$DIST/podman/davit.conf" >/etc/containers/containers.conf.d/davit.conf
echo '{ "default": [ { "type": "insecureAcceptAnything" } ] }' >/etc/containers/policy.json
echo 'unqualified-search-registries = []' >/etc/containers/registries.conf
# No journal, no service manager, and hard limits that nobody here may raise.
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = []
[engine]
cgroup_manager = "${MANAGER:-cgroupfs}"
events_logger = "file"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver = "overlay"
graphroot = "$DIR/graph"
runroot = "$DIR/runroot"
END
