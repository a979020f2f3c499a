#!/bin/sh
# Any half can be swapped: the demo's bundles run under runc with our hook and plugins, and under
# davit with the reference plugins. What the reference is known to leave behind is shown.
set -eu
here=$(dirname "$0")
echo '#### runc as the runtime, davit-cni as its hook, our plugins'
DAVIT=$(command -v runc) "$here/demo.sh"
echo '#### davit as the runtime, davit-cni as its hook, the reference plugins'
CNI_PATH=/usr/lib/cni DEMO_TOLERATE='the reference plugins 1.1.1' "$here/demo.sh"
