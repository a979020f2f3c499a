# Exec, Attach and PortForward: containerd answers with an address and is a WebSocket there, each
# message of which begins with the number of its channel. Sourced by cri.sh.

# stream URL END MESSAGE...: sends them, and prints what comes back, frames and all, until END is in
# it. Frames from a client are masked, and a mask of zeros changes nothing.
stream() {
    local url=${1#http://} end=$2 host message
    shift 2
    host=${url%%/*}
    exec {line}<>"/dev/tcp/${host%:*}/${host##*:}"
    printf '%s\r\n' "GET /${url#*/} HTTP/1.1" "Host: $host" 'Upgrade: websocket' 'Connection: Upgrade' \
        'Sec-WebSocket-Version: 13' 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==' \
        'Sec-WebSocket-Protocol: v4.channel.k8s.io' '' >&"$line"
    for message; do
        sleep 1 # a new size of the terminal is another thread's there
        printf "\\x82\\x$(printf %02x $((127 + ${#message})))\\0\\0\\0\\0\\x0${message%%:*}%s" "${message#*:}" >&"$line"
    done
    LC_ALL=C timeout "$PATIENCE" sed -u "/$end/q" <&"$line" | tr -d '\0'
    exec {line}>&-
}
execed() { # OPTIONS END COMMAND MESSAGE...
    local url
    url=$(cri Exec "container_id: '$(one)' stdin: true stdout: true $1 $(words cmd sh -c "$3")" | field url)
    stream "$url" "$2" "${@:4}"
}
attached() {
    local id url
    id=$(container "$(cat "$DIR/main")" main hears "stdin: true $(words command sh -c 'while read line; do echo heard $line; done')")
    start "$id"
    url=$(cri Attach "container_id: '$id' stdin: true stdout: true stderr: true" | field url)
    says 'heard me' stream "$url" heard $'0:me\n'
    remove_container "$id"
}
forwarded() {
    local id url
    id=$(pod forward)
    serve "$id" forward
    await fetch "http://$(ip_of "$id")/passwd"
    url=$(cri PortForward "pod_sandbox_id: '$id' port: 80" | field url)
    says root: stream "$url" root: $'0:GET /passwd HTTP/1.0\r\n\r\n'
    remove_pod "$id"
}

op 'Exec: input and output' says 'got typed' execed 'stderr: true' got 'read line; echo got $line' $'0:typed\n'
op 'Exec: exit status' says '"message":"3"' execed 'stderr: true' ExitCode 'exit 3'
op 'Exec: a terminal, and its size' says '33 77' execed 'tty: true' 33 'read line; stty size' '4:{"Width":77,"Height":33}' $'0:x\n'
op 'Attach' attached
op 'PortForward' forwarded
