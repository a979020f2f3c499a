# Pods and containers of the CRI, in the words that protoc reads. Sourced by cri.sh
# and ctr-systemd.sh.
sandbox() { # NAME [TEXT]
    echo "metadata { name: '$1' uid: '$1' namespace: 'tests' } log_directory: '$DIR/logs/$1' hostname: '${HOST_NAME-$1}'
        linux { cgroup_parent: '${PARENT:-/$ID}' ${LINUX:-} } ${2:-}"
}
# pod NAME [TEXT]: runs it and prints its ID.
pod() {
    mkdir -p "$DIR/logs/$1"
    sandbox "$@" >"$DIR/pod.$1"
    cri RunPodSandbox "config { $(cat "$DIR/pod.$1") } runtime_handler: '${HANDLER-davit}'" | field pod_sandbox_id
}
# container POD-ID POD-NAME NAME TEXT: creates it and prints its ID.
container() {
    cri CreateContainer "pod_sandbox_id: '$1' sandbox_config { $(cat "$DIR/pod.$2") }
        config { metadata { name: '$3' } image { image: '$IMAGE' } log_path: '$3.log' $4 }" | field container_id
}
words() { # a command as a repeated field: NAME WORD...
    local field=$1 word
    shift
    for word in "$@"; do printf "%s: '%s' " "$field" "${word//\'/\\\'}"; done
}
state_of() { cri ContainerStatus "container_id: '$1'" | field state; }
# protobuf does not write a zero: a container without a state is created.
state_is() { local state; state=$(state_of "$1") && [ "${state:-CONTAINER_CREATED}" = "CONTAINER_$2" ]; }
sandbox_pid() { cri PodSandboxStatus "pod_sandbox_id: '$1' verbose: true" | grep -o '\\"pid\\":[0-9]*' | head -n 1 | tr -dc 0-9; }
ip_of() { cri PodSandboxStatus "pod_sandbox_id: '$1'" | field ip; }
start() { cri StartContainer "container_id: '$1'"; }
stop() { cri StopContainer "container_id: '$1' timeout: ${2:-0}"; }
remove_container() { cri RemoveContainer "container_id: '$1'"; }
serve() { # POD-ID POD-NAME
    start "$(container "$1" "$2" web "$(words command httpd -f -p 80 -h /etc)")"
}
remove_pod() {
    cri StopPodSandbox "pod_sandbox_id: '$1'"
    cri RemovePodSandbox "pod_sandbox_id: '$1'"
}
sync() { # ID WORD...: what it says
    local id=$1 answer
    shift
    answer=$(cri ExecSync "container_id: '$id' $(words cmd "$@") timeout: 20") || return
    echo "$answer"
    [ "$(echo "$answer" | field exit_code)" = '' ]
}
# runs TEXT WORD...: in a container of the pod "main" until its end; its log is printed.
runs() {
    local id text=$1
    shift
    id=$(container "$(cat "$DIR/${POD:-main}")" "${POD:-main}" c "$text $(words command "$@")")
    start "$id" >/dev/null || { remove_container "$id"; return 1; }
    await state_is "$id" EXITED
    cut -d' ' -f4- "$DIR/logs/${POD:-main}/c.log"
    rm -f "$DIR/logs/${POD:-main}/c.log"
    code=$(cri ContainerStatus "container_id: '$id'" | field exit_code)
    remove_container "$id" >/dev/null
    return "${code:-0}"
}
sweep() {
    local id
    for id in $(cri ListContainers | sed -n "s/^  id: \"\(.*\)\"/\1/p"); do
        grep -qs "$id" "$DIR/one" || remove_container "$id"
    done
    for id in $(cri ListPodSandbox | sed -n "s/^  id: \"\(.*\)\"/\1/p"); do
        grep -qs "$id" "$DIR/main" || remove_pod "$id"
    done
}

both_images() {
    import_image
    sh "$HERE/image.sh" "$PAUSE" "$DIR/pause.tar" '["sleep","1000000"]'
    tool images import "$DIR/pause.tar"
    await says "$PAUSE" cri ListImages
    await says "$IMAGE" cri ListImages
}
ready() {
    says containerd cri Version "version: 'v1'"
    await is_ready RuntimeReady
    await is_ready NetworkReady
}
is_ready() { cri Status | grep -A 1 "type: \"$1\"" | grep 'status: true'; }
warm_up() { # what the first pod makes is there
    local id
    id=$(pod warm "port_mappings { container_port: 80 host_port: 18080 }") && remove_pod "$id" >/dev/null
}
