# Pods. Sourced by podman.sh and podman-rootless.sh.
in_pod() { detached --pod p --name "$1" "$B" "${@:2}"; }
pod_status_is() { [ "$(tool pod inspect --format '{{.State}}' p)" = "$1" ]; }
POD=()
[ "${#PARENT[@]}" = 0 ] || POD=("${PARENT[@]}")

pod_published() {
    in_pod server httpd -f -p 80 -h /etc
    await fetch http://127.0.0.1:18090/passwd
    says somebody tool exec server wget -q -O - http://127.0.0.1/passwd
    in_pod client sleep 600
    says somebody tool exec client wget -q -O - http://127.0.0.1/passwd
}
shares() { # IPC and UTS too
    in_pod cx sleep 600
    prints p tool exec cx hostname
    local kind
    for kind in ipc net uts; do
        [ "$(readlink "/proc/$(pid_of cx)/ns/$kind")" = "$(readlink "/proc/$(pid_of server)/ns/$kind")" ] || { echo "not the same $kind"; return 1; }
    done
    apart tool exec cx
    remove cx
}
pod_restarts() {
    tool pod stop --time 1 p
    pod_status_is Exited
    tool pod start p
    pod_status_is Running
    await fetch http://127.0.0.1:18090/passwd
}
pod_pauses() {
    tool pod pause p
    pod_status_is Paused
    frozen "$(pid_of server)"
    tool pod unpause p
    thawed "$(pid_of server)"
    pod_status_is Running
}
wrong_order() { # the sandbox first
    local infra
    infra=$(tool pod inspect --format '{{.InfraContainerID}}' p)
    refuses tool rm --force "$infra"
    tool kill "$infra"
    tool pod rm --force --time 0 p
    refuses pod_status_is Running
}

op 'pod create --publish' tool pod create --name p --publish 127.0.0.1:18090:80 "${POD[@]}"
op 'pod: two containers and a published port' pod_published
op 'pod: containers share its names' shares
op 'pod ps, inspect' pod_status_is Running
op 'pod top' says httpd tool pod top p
op 'pod stats' says server tool pod stats --no-stream p
op 'pod pause, unpause' pod_pauses
op 'pod stop, start' pod_restarts
op 'pod rm, its sandbox killed before' wrong_order
