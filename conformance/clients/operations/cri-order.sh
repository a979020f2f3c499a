# Pods beside each other, host ports, and removal in the wrong order. Sourced by cri.sh.
talk() {
    local id ip
    id=$(pod web)
    serve "$id" web
    ip=$(ip_of "$id")
    await fetch "http://$ip/passwd"
    says root: sync "$(one)" wget -q -O - "http://$ip/passwd"
    remove_pod "$id"
}
host_port() {
    local id
    id=$(pod ports "port_mappings { container_port: 80 host_port: 18081 host_ip: '127.0.0.1' }")
    serve "$id" ports
    await fetch http://127.0.0.1:18081/passwd
    remove_pod "$id"
    complains onnect fetch http://127.0.0.1:18081/passwd
}
host_network() {
    local id
    id=$(HOST_NAME='' LINUX='security_context { namespace_options { network: NODE } }' pod node)
    [ "$(readlink /proc/self/ns/net)" = "$(readlink "/proc/$(sandbox_pid "$id")/ns/net")" ]
    remove_pod "$id"
}
with_sysctl() {
    local id
    id=$(LINUX="sysctls { key: 'net.ipv4.ip_unprivileged_port_start' value: '0' }" pod sysctl)
    prints 0 nsenter -t "$(sandbox_pid "$id")" -n cat /proc/sys/net/ipv4/ip_unprivileged_port_start
    remove_pod "$id"
}
sandbox_first() { # the pod goes, its containers with it
    local id
    id=$(pod order)
    serve "$id" order
    cri StopPodSandbox "pod_sandbox_id: '$id'"
    cri StopPodSandbox "pod_sandbox_id: '$id'"
    cri RemovePodSandbox "pod_sandbox_id: '$id'"
    cri RemovePodSandbox "pod_sandbox_id: '$id'"
}
sandbox_killed() { # and so are its namespaces' last process and its shim's child
    local id
    id=$(pod killed)
    serve "$id" killed
    kill -KILL "$(sandbox_pid "$id")"
    await sandbox_is_down "$id"
    remove_pod "$id"
}
sandbox_is_down() { says NOTREADY cri PodSandboxStatus "pod_sandbox_id: '$1'"; }
no_such_handler() { complains 'no runtime for' env_handler nosuch; }
env_handler() { HANDLER=$1 pod wrong; }
no_network() {
    mv /etc/cni/net.d/10-davit.conflist "$DIR/aside"
    sed 's/"type": "portmap"/"type": "nosuchplugin"/' "$DIR/aside" >/etc/cni/net.d/10-davit.conflist
    sleep 1 # containerd watches the directory
    local status=0 id
    complains nosuchplugin pod broken || status=$?
    mv "$DIR/aside" /etc/cni/net.d/10-davit.conflist
    sleep 1
    # containerd keeps a pod whose network it could not take down either, for the kubelet to remove.
    for id in $(cri ListPodSandbox | grep -B 3 '"broken"' | field id); do remove_pod "$id"; done
    return "$status"
}
ten_pods() {
    local i ids=() id
    for i in 0 1 2 3 4 5 6 7 8 9; do pod "many$i" >"$DIR/many.$i" & ids+=($!); done
    for i in "${ids[@]}"; do wait "$i"; done
    [ "$(for i in 0 1 2 3 4 5 6 7 8 9; do ip_of "$(cat "$DIR/many.$i")"; done | sort -u | wc -l)" = 10 ]
    ids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do remove_pod "$(cat "$DIR/many.$i")" & ids+=($!); done
    for i in "${ids[@]}"; do wait "$i"; done
}
all_gone() {
    remove_pod "$(cat "$DIR/main")"
    [ -z "$(cri ListPodSandbox)$(cri ListContainers)" ]
}

op 'two pods, and the host, talk' talk
op 'a host port' host_port
op 'the network of the node' host_network
op 'a sysctl' with_sysctl
op 'a pod is removed before its containers, twice' sandbox_first
op 'a pod whose sandbox was killed' sandbox_killed
op 'a handler that is not configured' no_such_handler
op 'a plugin that is missing is named' no_network
op 'ten pods at once' ten_pods
op 'StopPodSandbox and RemovePodSandbox with a container running' all_gone
