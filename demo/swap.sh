#!/bin/sh
# Any half can be swapped: the demo's bundles run under runc with our hook and plugins, and under
# davit with the reference plugins. What the reference is known to leave behind is shown.
set -eu
here=$(dirname "$0")
runc=$(command -v runc) || { echo 'swap: runc is not installed' >&2; exit 1; }
[ -x /usr/lib/cni/bridge ] || { echo 'swap: no reference plugins in /usr/lib/cni' >&2; exit 1; }
echo '#### runc as the runtime, davit-cni as its hook, our plugins'
DAVIT=$runc "$here/demo.sh"
echo '#### davit as the runtime, davit-cni as its hook, the reference plugins'
CNI_PATH=/usr/lib/cni DEMO_TOLERATE='the reference plugins 1.1.1' "$here/demo.sh"
