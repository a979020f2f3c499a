# Pods with SystemdCgroup = true: a kubelet's slice for each, and scopes in it. Sourced by
# ctr-systemd.sh.
. "$OPERATIONS/cri-pod.sh"
NAMESPACE=k8s.io
PARENT=$ID-main.slice
unit() { echo "cri-containerd-$1.scope"; }
main() { cat "$DIR/main"; }
one() { cat "$DIR/one"; }
# A container of the pod "main" that sleeps: NAME TEXT; its ID.
sleeper() {
    local id
    id=$(container "$(main)" main "$1" "$2 $(words command sleep 600)")
    start "$id" >/dev/null
    echo "$id"
}
gone_with_scope() {
    remove_container "$1"
    await is_forgotten "$(unit "$1")"
}

pod_up() {
    pod main >"$DIR/main"
    holds "$PARENT" "$(unit "$(main)")" Slice
    holds active "$(unit "$(main)")" ActiveState
}
container_up() {
    sleeper one '' >"$DIR/one"
    holds "$PARENT" "$(unit "$(one)")" Slice
    says 'sleep 600' systemctl status --no-pager "$(unit "$(one)")"
}
limits() {
    local id
    id=$(sleeper limited "linux { resources { memory_limit_in_bytes: 67108864 cpu_period: 100000 cpu_quota: 50000
        cpu_shares: 512 cpuset_cpus: '0' unified { key: 'pids.max' value: '77' } } }")
    holds 67108864 "$(unit "$id")" MemoryMax
    holds 500ms "$(unit "$id")" CPUQuotaPerSecUSec
    holds "$(cgroup_file "$(unit "$id")" cpu.weight)" "$(unit "$id")" CPUWeight
    holds 0 "$(unit "$id")" AllowedCPUs
    holds 77 "$(unit "$id")" TasksMax
    systemctl daemon-reload
    says 67108864 cgroup_file "$(unit "$id")" memory.max
    says '50000 100000' cgroup_file "$(unit "$id")" cpu.max
    says 77 cgroup_file "$(unit "$id")" pids.max
    says 0 cgroup_file "$(unit "$id")" cpuset.cpus
    gone_with_scope "$id"
}
updated() {
    local try
    cri UpdateContainerResources "container_id: '$(one)' linux { memory_limit_in_bytes: 50331648 cpu_period: 100000 cpu_quota: 25000 }"
    for try in before after; do
        holds 50331648 "$(unit "$(one)")" MemoryMax
        holds 250ms "$(unit "$(one)")" CPUQuotaPerSecUSec
        says 50331648 cgroup_file "$(unit "$(one)")" memory.max
        says '25000 100000' cgroup_file "$(unit "$(one)")" cpu.max
        systemctl daemon-reload
    done
    cri UpdateContainerResources "container_id: '$(one)' linux { memory_limit_in_bytes: 100663296 }"
    holds 100663296 "$(unit "$(one)")" MemoryMax
}
pod_device() {
    local id try
    id=$(sleeper device "devices { container_path: '/dev/fuse' host_path: '/dev/fuse' permissions: 'rw' }")
    for try in before after updated; do
        fuse_opens sync "$id"
        tun_is_denied sync "$id"
        case $try in
        before) systemctl daemon-reload ;;
        after) cri UpdateContainerResources "container_id: '$id' linux { memory_limit_in_bytes: 67108864 }" ;;
        esac
    done
    gone_with_scope "$id"
}
oom_killed() {
    local id
    id=$(container "$(main)" main greedy "linux { resources { memory_limit_in_bytes: 16777216 } } $(words command sh -c 'x=a; while :; do x=$x$x; done')")
    start "$id"
    await state_is "$id" EXITED
    says OOMKilled cri ContainerStatus "container_id: '$id'"
    gone_with_scope "$id"
}
slice_of_pod_stopped() { # as one who drains a node by hand
    local id inner
    id=$(PARENT=$ID-ends.slice pod ends)
    inner=$(container "$id" ends c "$(words command sleep 600)")
    start "$inner"
    systemctl stop "$ID-ends.slice"
    await state_is "$inner" EXITED
    remove_pod "$id"
    await is_forgotten "$(unit "$inner")"
    await is_forgotten "$(unit "$id")"
}
pod_survives() {
    state_is "$(one)" RUNNING
    says inside sync "$(one)" echo inside
    holds active "$(unit "$(one)")" ActiveState
}
pod_down() {
    remove_pod "$(main)"
    await is_forgotten "$(unit "$(one)")"
    await is_forgotten "$(unit "$(main)")"
    systemctl stop "$PARENT" # is the kubelet's
}
ten_pods() {
    local i ids=() slice="$ID-many.slice"
    for i in 0 1 2 3 4 5 6 7 8 9; do PARENT=$slice pod "many$i" >"$DIR/many.$i" & ids+=($!); done
    for i in "${ids[@]}"; do wait "$i"; done
    for i in 0 1 2 3 4 5 6 7 8 9; do holds "$slice" "$(unit "$(cat "$DIR/many.$i")")" Slice; done
    ids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do remove_pod "$(cat "$DIR/many.$i")" & ids+=($!); done
    for i in "${ids[@]}"; do wait "$i"; done
    systemctl stop "$slice"
}
no_unit() {
    local left
    left=$(systemctl list-units --all --plain --no-legend 'cri-containerd-*' "$ID-*")
    [ -z "$left" ] || { echo "$left"; return 1; }
}

op 'import of images, and the CRI sees them' both_images
warm_up
systemctl stop "$PARENT"
remember "${STATE[@]}"
op 'RunPodSandbox: a scope in the slice of the pod' pod_up
op 'CreateContainer, StartContainer: a scope beside it' container_up
op 'ExecSync' says inside sync "$(one)" echo inside
op 'ExecSync: in the scope' says '0::/\n' sync "$(one)" cat /proc/self/cgroup
op 'ContainerStats' says working_set_bytes cri ContainerStats "container_id: '$(one)'"
op 'limits: properties that daemon-reload keeps' limits
op 'UpdateContainerResources: properties that daemon-reload keeps' updated
op 'a device: over daemon-reload and update it opens, and another is denied' pod_device
op 'out of memory: OOMKilled, and no failed scope' oom_killed
restart_containerd
op 'restart of containerd: pod and container run on' pod_survives
op 'systemctl stop of the slice of a pod' slice_of_pod_stopped
op 'StopPodSandbox, RemovePodSandbox: scopes and cgroups are gone' pod_down
op 'ten pods at once' ten_pods
op 'nothing is left: units' await no_unit
op 'nothing is left: links, rules, mounts, cgroups, addresses, states' await nothing_new "${STATE[@]}"
