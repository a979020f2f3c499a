#!/bin/sh
# Prints the target of the binaries that are shipped: musl's, whose static programs start a third of a
# millisecond sooner than glibc's (docs/decisions/0057), or where rustup cannot fetch it, this machine's own.
set -eu
host=$(rustc -vV | sed -n 's/^host: //p')
musl=${host%-gnu}-musl
is_there() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null || echo /nowhere)" ]; }
is_there "$musl" || rustup target add "$musl" >&2 || true
if is_there "$musl"; then
    echo "$musl"
else
    echo "release-target.sh: no standard library for $musl: linked with glibc" >&2
    echo "$host"
fi
