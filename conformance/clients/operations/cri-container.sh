# One pod, and containers in it. Sourced by cri.sh.
pod_up() { pod main "dns_config { servers: '192.0.2.53' searches: 'example.org' options: 'ndots:5' }" >"$DIR/main" && [ -s "$DIR/main" ]; }
container_up() {
    container "$(cat "$DIR/main")" main one "$(words command sleep) $(words args 600)" >"$DIR/one"
    state_is "$(cat "$DIR/one")" CREATED
}
one() { cat "$DIR/one"; }
security() { echo "linux { security_context { $* } }"; }
limited() { # V1FILE V2FILE RESOURCES
    local id
    id=$(container "$(cat "$DIR/main")" main limited "linux { resources { $3 } } $(words command sleep 100)")
    start "$id"
    cgroup_of "$(pid_of "$id")" "$1" "$2"
    remove_container "$id"
}
pid_of() { cri ContainerStatus "container_id: '$1' verbose: true" | grep -o '\\"pid\\":[0-9]*' | head -n 1 | tr -dc 0-9; }
updated() {
    cri UpdateContainerResources "container_id: '$(one)' linux { memory_limit_in_bytes: 50331648 cpu_shares: 512 }"
    says 50331648 cgroup_of "$(pid_of "$(one)")" memory/memory.limit_in_bytes memory.max
}
probe() { # as a kubelet's exec probe: often, and its failure is a status
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do sync "$(one)" true >/dev/null; done
    says 'exit_code: 3' cri ExecSync "container_id: '$(one)' $(words cmd sh -c 'exit 3') timeout: 5"
}
slow_probe() { complains 'timeout' cri ExecSync "container_id: '$(one)' $(words cmd sleep 30) timeout: 1"; }
logged() {
    says from-out runs "$(words args)" sh -c 'echo from-out'
    local id
    id=$(container "$(cat "$DIR/main")" main rotated "$(words command sh -c 'while :; do echo tick; sleep 0.1; done')")
    start "$id"
    await test -s "$DIR/logs/main/rotated.log"
    mv "$DIR/logs/main/rotated.log" "$DIR/logs/main/rotated.1"
    cri ReopenContainerLog "container_id: '$id'"
    await test -s "$DIR/logs/main/rotated.log"
    remove_container "$id"
}
stopped_gently() {
    local id
    id=$(container "$(cat "$DIR/main")" main gentle "$(words command sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done')")
    start "$id"
    await grep -q ready "$DIR/logs/main/gentle.log"
    stop "$id" 20
    says 'exit_code: 3' cri ContainerStatus "container_id: '$id'"
    remove_container "$id"
}
killed_in_time() {
    local id
    id=$(container "$(cat "$DIR/main")" main stubborn "$(words command sh -c 'trap "" TERM; while :; do sleep 0.1; done')")
    start "$id"
    stop "$id" 1
    says 'exit_code: 137' cri ContainerStatus "container_id: '$id'"
    remove_container "$id"
}
out_of_memory() {
    local id
    id=$(container "$(cat "$DIR/main")" main greedy "linux { resources { memory_limit_in_bytes: 16777216 } } $(words command sh -c 'x=a; while :; do x=$x$x; done')")
    start "$id"
    await state_is "$id" EXITED
    says OOMKilled cri ContainerStatus "container_id: '$id'"
    remove_container "$id"
}
missing_program() {
    local id
    id=$(container "$(cat "$DIR/main")" main missing "$(words command "$1")")
    complains "$2" start "$id"
    remove_container "$id"
}
privileged() {
    LINUX='security_context { privileged: true }' pod mighty >"$DIR/mighty"
    POD=mighty says 'Seccomp:	0' runs "$(security 'privileged: true')" grep Seccomp: /proc/self/status
    remove_pod "$(cat "$DIR/mighty")"
}
shares_pids() {
    local id
    id=$(container "$(cat "$DIR/main")" main sees "linux { security_context { namespace_options { pid: TARGET target_id: '$(one)' } } } $(words command sleep 50)")
    start "$id"
    says 'sleep 600' sync "$id" ps
    remove_container "$id"
}
user_namespace() {
    [ "$(containerd --version | cut -d' ' -f3 | cut -d. -f1,2)" != 1.6 ] || missing 'containerd 1.7 and its user namespaces for pods'
    local map="namespace_options { userns_options { mode: POD uids { host_id: 100000 length: 65536 } gids { host_id: 100000 length: 65536 } } }"
    LINUX="security_context { $map }" pod mapped >"$DIR/mapped"
    POD=mapped says ' 100000 ' runs "$(security "$map")" cat /proc/self/uid_map
    POD=mapped says 'root' runs "$(security "$map")" ls -l /bin/busybox
    remove_pod "$(cat "$DIR/mapped")"
}
survives() {
    state_is "$(one)" RUNNING
    says inside sync "$(one)" echo inside
}

op 'RunPodSandbox with the handler davit' pod_up
op 'PodSandboxStatus: an address of our network' says 10.185.0. cri PodSandboxStatus "pod_sandbox_id: '$(cat "$DIR/main")'"
op 'ListPodSandbox: its handler' says 'runtime_handler: "davit"' cri ListPodSandbox
op 'CreateContainer' container_up
op 'StartContainer' start "$(one)"
op 'ListContainers' says CONTAINER_RUNNING cri ListContainers
op 'ExecSync' says inside sync "$(one)" echo inside
op 'ExecSync as a probe' probe
op 'ExecSync: its timeout' slow_probe
op 'ExecSync: a program that is missing' complains 'no such file or directory' sync "$(one)" /no/such/program
op 'ContainerStats' says working_set_bytes cri ContainerStats "container_id: '$(one)'"
op 'UpdateContainerResources' updated
op 'logs, and their rotation' logged
op 'exit status' exits 42 runs '' sh -c 'exit 42'
op 'a program that is missing: StartContainer says so' missing_program /no/such/program 'no such file or directory'
op 'a name that is not in PATH: StartContainer says so' missing_program nosuchprogram 'executable file not found in $PATH'
op 'out of memory: the reason is OOMKilled' out_of_memory
op 'StopContainer: the program ends itself' stopped_gently
op 'StopContainer: it does not' killed_in_time
op 'environment and working directory' says 'A is b in /tmp' runs "envs { key: 'A' value: 'b' } working_dir: '/tmp'" sh -c 'echo A is $A in $(pwd)'
op 'DNS of the pod' says 'ndots:5' runs '' cat /etc/resolv.conf
op 'hostname of the pod' says main runs '' hostname
op 'a mount, read-only' complains 'Read-only' runs "mounts { container_path: '/m' host_path: '$DIR/home' readonly: true }" touch /m/x
op 'a device' says crw runs "devices { container_path: '/dev/fuse' host_path: '/dev/fuse' permissions: 'rwm' }" ls -l /dev/fuse
op 'user and groups' says 'uid=1000 gid=1001 groups=1001,1002' runs "$(security 'run_as_user { value: 1000 } run_as_group { value: 1001 } supplemental_groups: 1002')" id
op 'capabilities' says 'CapEff:	0000000000000000' runs "$(security "capabilities { drop_capabilities: 'ALL' }")" grep CapEff /proc/self/status
op 'a privileged pod' privileged
op 'seccomp RuntimeDefault' says 'Seccomp:	2' runs "$(security 'seccomp { profile_type: RuntimeDefault }')" grep Seccomp: /proc/self/status
op 'no new privileges' says 'NoNewPrivs:	1' runs "$(security 'no_new_privs: true')" grep NoNewPrivs /proc/self/status
op 'read-only rootfs' complains 'Read-only' runs "$(security 'readonly_rootfs: true')" touch /x
op 'memory limit' says 67108864 limited memory/memory.limit_in_bytes memory.max 'memory_limit_in_bytes: 67108864'
op 'CPU quota' says 50000 limited cpu/cpu.cfs_quota_us cpu.max 'cpu_period: 100000 cpu_quota: 50000'
op 'the process IDs of another container' shares_pids
op 'a pod with a user namespace' user_namespace
restart_containerd
op 'restart of containerd: pod and container run on' survives
