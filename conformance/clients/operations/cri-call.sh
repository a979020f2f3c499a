# One call of the CRI. Debian has no crictl: curl speaks gRPC's HTTP/2, protoc its messages, which
# are written and read as text. Sourced by cri.sh.

# cri METHOD [TEXT]: prints the answer; on an error its message, and fails.
cri() {
    local method=$1 service=RuntimeService dir status message
    [ "$method" != ListImages ] || service=ImageService
    dir=$(mktemp -d "$DIR/call.XXXXXX")
    printf '%s' "${2:-}" | message "encode=runtime.v1.${method}Request" >"$dir/message"
    { # not compressed, and how long it is
        printf '\0'
        printf '%08x' "$(stat -c %s "$dir/message")" | xxd_r
        cat "$dir/message"
    } >"$dir/request"
    curl -sS -m "$PATIENCE" --http2-prior-knowledge --unix-socket "$SOCKET" -D "$dir/head" -o "$dir/answer" \
        -H 'content-type: application/grpc' -H 'te: trailers' --data-binary "@$dir/request" \
        "http://localhost/runtime.v1.$service/$method"
    status=$(sed -n 's/^grpc-status: *\([0-9]*\).*/\1/p' "$dir/head")
    if [ "${status:-14}" != 0 ]; then
        sed -n 's/^grpc-message: *//p' "$dir/head" >&2
        rm -r "$dir"
        return 1
    fi
    tail -c +6 "$dir/answer" | message "decode=runtime.v1.${method}Response"
    rm -r "$dir"
}
message() { protoc --proto_path="$OPERATIONS" "--$1" cri.proto; }
# Hexadecimal digits to bytes.
xxd_r() { sed 's/../\\x&/g' | { read -r bytes || :; printf "$bytes"; }; }
# field NAME: its value in an answer, without quotes.
field() { sed -n "s/^ *$1: \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" | head -n 1; }
