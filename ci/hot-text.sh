#!/bin/sh
# Fails where a binary no longer has what usual starts execute in one place (docs/decisions/0065):
#   hot-text.sh BINARY...
# With another compiler, or after much has changed, `make hot-text` finds the names again.
set -eu
least=150000
for binary; do
    size=$(readelf -SW "$binary" | sed -n 's/.* \.text\.first *PROGBITS *[0-9a-f]* [0-9a-f]* \([0-9a-f]*\) .*/\1/p')
    size=$((0x${size:-0}))
    echo "hot-text: $binary: $size bytes"
    [ $size -ge $least ] || { echo "hot-text: fewer than $least: run make hot-text" >&2; exit 1; }
done
