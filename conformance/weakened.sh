#!/usr/bin/env bash
# Shows that the rows about past vulnerabilities notice one: builds davit with each weakening of
# conformance/weakened (or those named), and expects the rows that its head names to fail.
#   conformance/weakened.sh SUITE [NAME...]
# Works on a copy of the tree below out/weakened; an attack takes DAVIT_ATTACK_SECONDS (10).
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname -- "$here")
suite=$(realpath -- "${1:?the executable oci-conformance}")
shift
export DAVIT_ATTACK_SECONDS=${DAVIT_ATTACK_SECONDS:-10}

copy=$repository/out/weakened/tree
export CARGO_TARGET_DIR=$repository/out/weakened/target
mkdir -p "$copy"

names=("$@")
if ((${#names[@]} == 0)); then
    for patch in "$here"/weakened/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

# What is committed and what is not, without what is ignored. Times are kept, or all would be built
# anew; but what was last built here was weaker.
(cd "$repository" && git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --null -T - -cf -) | tar -C "$copy" -xf -
sed -n "s|^+++ b/|$copy/|p" "$here"/weakened/*.patch | sort -u | xargs touch

bad=0
for name in "${names[@]}"; do
    patch=$here/weakened/$name.patch
    mapfile -t rows < <(sed -n 's/^row: //p' "$patch")
    ((${#rows[@]} > 0)) || { echo "weakened: $name names no row" >&2; exit 2; }
    patch -s -d "$copy" -p1 <"$patch"
    (cd "$copy" && cargo build --locked --quiet -p runtime)
    davit=$(find "$CARGO_TARGET_DIR" -path '*/debug/davit' -type f | head -n 1)
    report=$("$suite" --subject weakened --runtime "$davit" "${rows[@]}" || true)
    for row in "${rows[@]}"; do
        if grep -q "^FAIL   $row\$" <<<"$report"; then
            echo "caught   $name: $row ($(sed -n "/^FAIL   $row\$/,/^  why: /s/^  why: //p" <<<"$report" | cut -c1-100))"
        else
            echo "MISSED   $name: $row"
            bad=1
        fi
    done
    patch -s -R -d "$copy" -p1 <"$patch"
done
exit "$bad"
