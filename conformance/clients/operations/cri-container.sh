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
    start "$id" >/dev/null
    grep -q ":.*/$ID/" "/proc/$(pid_of "$id")/cgroup" || return
    cgroup_of "$(pid_of "$id")" "$1" "$2"
    remove_container "$id" >/dev/null
}
pid_of() { cri ContainerStatus "container_id: '$1' verbose: true" | grep -o '\\"pid\\":[0-9]*' | head -n 1 | tr -dc 0-9; }
updated() {
    local id
    id=$(container "$(cat "$DIR/main")" main updated "$(words command sleep 100)")
    start "$id"
    cri UpdateContainerResources "container_id: '$id' linux { memory_limit_in_bytes: 50331648 cpu_shares: 512 cpu_period: 100000 cpu_quota: 40000 cpuset_cpus: '0' }"
    prints 50331648 cgroup_of "$(pid_of "$id")" memory/memory.limit_in_bytes memory.max
    is_half cgroup_of "$(pid_of "$id")" cpu/cpu.shares cpu.weight
    says 40000 cgroup_of "$(pid_of "$id")" cpu/cpu.cfs_quota_us cpu.max
    prints 0 cgroup_of "$(pid_of "$id")" cpuset/cpuset.cpus cpuset.cpus
    remove_container "$id"
}
probe() { # as a kubelet's exec probe: often, and its failure is a status
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do sync "$(one)" true >/dev/null; done
    says 'exit_code: 3' cri ExecSync "container_id: '$(one)' $(words cmd sh -c 'exit 3') timeout: 5"
}
slow_probe() {
    complains 'timeout' cri ExecSync "container_id: '$(one)' $(words cmd sleep 31) timeout: 1"
    says nobody sync "$(one)" sh -c 'ps -o args | grep "^sleep 31" || echo nobody'
}
execed() {
    says inside sync "$(one)" echo inside
    like "$(pid_of "$(one)")" output "$(one)"
}
output() { # ID WORD...: of a program, without the words of the answer around it
    printf '%b' "$(cri ExecSync "container_id: '$1' $(words cmd "${@:2}") timeout: 20" | field stdout)"
}
measured() { cri ContainerStats "container_id: '$(one)'" | grep -A 1 working_set_bytes | grep -q 'value: [1-9]'; }
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
    local run=(runs "$(security 'privileged: true')")
    LINUX='security_context { privileged: true }' pod mighty >"$DIR/mighty"
    local POD=mighty
    says 'Seccomp:	0' "${run[@]}" grep Seccomp: /proc/self/status
    capable 21 "${run[@]}"
    unprotected "${run[@]}"
    prints rw "${run[@]}" sh -c 'grep -E " cgroup2? " /proc/mounts | cut -d" " -f4 | cut -c 1,2 | sort -u'
    opens "${run[@]}"
    remove_pod "$(cat "$DIR/mighty")"
}
named() {
    local id
    id=$(HOST_NAME=called pod named)
    echo "$id" >"$DIR/named"
    prints called nsenter -t "$(sandbox_pid "$id")" -u hostname
    POD=named prints called runs '' hostname
    remove_pod "$id"
}
covered() { # as a kubelet says it
    local path text=
    for path in $MASKED; do text+=" masked_paths: '$path'"; done
    for path in $LOCKED; do text+=" readonly_paths: '$path'"; done
    protected runs "$(security "$text")"
}
with_device() { # one that opens, to read and to write
    local text="devices { container_path: '/dev/fuse' host_path: '/dev/fuse' permissions: 'rwm' }"
    says crw runs "$text" ls -l /dev/fuse
    runs "$text" sh -c ': <>/dev/fuse'
}
to_read_only() {
    local text="devices { container_path: '/f' host_path: '/dev/fuse' permissions: 'r' }"
    runs "$text" sh -c ': </f'
    complains '/f: Operation not permitted' runs "$text" sh -c ': <>/f'
}
propagated() { # what is mounted later arrives where that was asked for, and comes from there
    local id shared=$DIR/later
    mkdir -p "$shared"
    ! mountpoint -q "$shared" || umount --recursive "$shared"
    mount -t tmpfs later "$shared"
    mount --make-shared "$shared"
    mkdir -p "$shared/below" "$shared/above" "$shared/inside"
    id=$(container "$(cat "$DIR/main")" main waits "mounts { container_path: '/slave' host_path: '$shared' propagation: PROPAGATION_HOST_TO_CONTAINER }
        mounts { container_path: '/shared' host_path: '$shared' propagation: PROPAGATION_BIDIRECTIONAL }
        mounts { container_path: '/private' host_path: '$shared' } $(words command sleep 100)")
    start "$id"
    mount -t tmpfs below "$shared/below"
    says ' /slave/below ' sync "$id" cat /proc/mounts
    says ' /shared/below ' sync "$id" cat /proc/mounts
    says nowhere sync "$id" sh -c 'grep " /private/below " /proc/mounts || echo nowhere'
    nsenter -t "$(pid_of "$id")" -m mount -t tmpfs above /shared/above
    mountpoint "$shared/above"
    nsenter -t "$(pid_of "$id")" -m mount -t tmpfs inside /slave/inside
    refuses mountpoint "$shared/inside"
    remove_container "$id"
    umount --recursive "$shared"
}
of_the_node() { # its processes, its queues
    local id
    id=$(LINUX='security_context { namespace_options { pid: NODE ipc: NODE } }' pod near)
    echo "$id" >"$DIR/near"
    POD=near joins pid runs "$(security 'namespace_options { pid: NODE ipc: NODE }')"
    POD=near joins ipc runs "$(security 'namespace_options { pid: NODE ipc: NODE }')"
    remove_pod "$id"
}
own_processes() { # beside a pod that shares them
    apart runs "$(security 'namespace_options { pid: CONTAINER }')"
    prints 1 runs "$(security 'namespace_options { pid: CONTAINER }')" sh -c 'echo $$'
    says pause=1 runs '' sh -c '[ $$ != 1 ] && echo pause=1'
}
joins_pod() { # the namespaces of the sandbox
    local kind
    for kind in ipc net uts; do
        prints "$(readlink "/proc/$(sandbox_pid "$(cat "$DIR/main")")/ns/$kind")" runs '' readlink "/proc/self/ns/$kind"
    done
}
with_powers() {
    capable 12 runs "$(security "capabilities { add_capabilities: 'NET_ADMIN' drop_capabilities: 'CHOWN' }")"
    incapable 0 runs "$(security "capabilities { add_capabilities: 'NET_ADMIN' drop_capabilities: 'CHOWN' }")"
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
op 'ExecSync' execed
op 'ExecSync as a probe' probe
op 'ExecSync: its timeout' slow_probe
op 'ExecSync: a program that is missing' complains 'stat /no/such/program: no such file or directory' sync "$(one)" /no/such/program
op 'ContainerStats' measured
op 'UpdateContainerResources' updated
op 'logs, and their rotation' logged
op 'exit status' exits 42 runs '' sh -c 'exit 42'
op 'a program that is missing: StartContainer says so' missing_program /no/such/program 'stat /no/such/program: no such file or directory'
op 'a name that is not in PATH: StartContainer says so' missing_program nosuchprogram 'executable file not found in $PATH'
op 'out of memory: the reason is OOMKilled' out_of_memory
op 'StopContainer: the program ends itself' stopped_gently
op 'StopContainer: it does not' killed_in_time
op 'environment and working directory' says 'A is b in /tmp' runs "envs { key: 'A' value: 'b' } working_dir: '/tmp'" sh -c 'echo A is $A in $(pwd)'
op 'DNS of the pod' says 'ndots:5' runs '' cat /etc/resolv.conf
op 'hostname of the pod' named
op 'the namespaces of the pod' joins_pod
op 'processes of its own' own_processes
op 'the processes and queues of the node' of_the_node
op 'a mount, read-only' complains 'Read-only' runs "mounts { container_path: '/m' host_path: '$DIR/home' readonly: true }" touch /m/x
op 'mounts: their propagation' propagated
op 'a device' with_device
op 'a device, to read only' to_read_only
op 'a device that is not given' cannot_open runs ''
op 'user and groups' says 'uid=1000 gid=1001 groups=1001,1002' runs "$(security 'run_as_user { value: 1000 } run_as_group { value: 1001 } supplemental_groups: 1002')" id
op 'capabilities' no_capability runs "$(security "capabilities { drop_capabilities: 'ALL' }")"
op 'capabilities: one more, one less' with_powers
op 'masked and read-only paths' covered
op 'a privileged pod' privileged
op 'seccomp RuntimeDefault' filtered runs "$(security 'seccomp { profile_type: RuntimeDefault }')"
op 'no new privileges' says 'NoNewPrivs:	1' runs "$(security 'no_new_privs: true')" grep NoNewPrivs /proc/self/status
op 'read-only rootfs' complains 'Read-only' runs "$(security 'readonly_rootfs: true')" touch /x
op 'memory limit' prints 67108864 limited memory/memory.limit_in_bytes memory.max 'memory_limit_in_bytes: 67108864'
op 'CPU quota' says 50000 limited cpu/cpu.cfs_quota_us cpu.max 'cpu_period: 100000 cpu_quota: 50000'
op 'CPU period' says 80000 limited cpu/cpu.cfs_period_us cpu.max 'cpu_period: 80000 cpu_quota: 40000'
op 'CPU shares' is_half limited cpu/cpu.shares cpu.weight 'cpu_shares: 512'
op 'the CPUs of a set' prints 0 limited cpuset/cpuset.cpus cpuset.cpus "cpuset_cpus: '0'"
op 'OOM score' prints 500 runs 'linux { resources { oom_score_adj: 500 } }' cat /proc/self/oom_score_adj
op 'the process IDs of another container' shares_pids
op 'a pod with a user namespace' user_namespace
restart_containerd
op 'restart of containerd: pod and container run on' survives
