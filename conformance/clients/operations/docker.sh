# Docker Engine, with its own bridge and iptables rules.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/docker-host.sh"
PARENT=(--cgroup-parent "/$ID") FORCE=(--force) TOOL=(docker) NETWORK=bridge SHARED=$DIR/home
tool() { bounded docker "$@"; }
. "$OPERATIONS/engine.sh"
# dockerd calls it so, whatever the runtime is.
STATE=("$DIR/exec/runtime-runc/moby" "$DIR/exec/containerd/daemon/io.containerd.runtime.v2.task/moby")
RUNTIME_OF=("$RUNTIME" --root "$DIR/exec/runtime-runc/moby")
version "$(docker --version)"
version "dockerd $(docker version --format '{{.Server.Version}}'), containerd $(containerd --version | cut -d' ' -f3)"

op 'import' import_image
# What the first use makes is there, and rules are in the order that a restart gives them.
once --publish 18080:80 "$B" true
once --network host "$B" true
restart_docker TERM
remember "${STATE[@]}"
. "$OPERATIONS/engine-run.sh"
. "$OPERATIONS/engine-life.sh"
. "$OPERATIONS/engine-net.sh"
. "$OPERATIONS/docker-own.sh"
op 'nothing is left: links, rules, mounts, cgroups, states' await nothing_new "${STATE[@]}"
