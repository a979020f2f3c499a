# Podman's configuration: what dist/ ships, with its paths replaced, and what this host needs beside
# it. Sourced by podman.sh and podman-rootless.sh.
mkdir -p /etc/containers/containers.conf.d
NAME=$(basename "$RUNTIME")
sed -e "s|/usr/local/bin/davit|$RUNTIME|; s|= \"davit\"$|= \"$NAME\"|; s|^davit = |$NAME = |" \
    "$DIST/podman/davit.conf" >/etc/containers/containers.conf.d/davit.conf
case $(podman --version) in *' '[1-4].*) # Podman 5 has netavark and no CNI.
    sed 's|/usr/local/libexec/cni|/opt/cni/bin|' "$DIST/podman/davit-network.conf" >/etc/containers/containers.conf.d/davit-network.conf ;;
esac
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
