# podman as root, with CNI networks.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/podman-host.sh"
PARENT=(--cgroup-parent "/$ID") FORCE=(--force --time 0) TOOL=(podman) NETWORK=podman SHARED=$DIR/home
BRIDGES='(cni-podman|ours|podman)[0-9]*'
tool() { bounded podman "$@"; }
. "$OPERATIONS/engine.sh"
version "$(podman --version)"
version "$(conmon --version | head -n 1)"
STATE=(/var/lib/cni/networks /run/runc /run/davit)

op 'import' import_image
once --publish 18080:80 "$B" true # so that what the first use makes is there
remember "${STATE[@]}"
. "$OPERATIONS/engine-run.sh"
. "$OPERATIONS/engine-life.sh"
. "$OPERATIONS/engine-net.sh"
. "$OPERATIONS/podman-own.sh"
. "$OPERATIONS/podman-pod.sh"
op 'nothing is left: links, rules, mounts, cgroups, addresses, states' nothing_new "${STATE[@]}"
. "$OPERATIONS/podman-end.sh"
