//! What `bandwidth --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "limits how fast a container sends and receives",
    description: "\
A chained plugin: the interface is made by the plugin before it. Directions are the container's:
ingress is what it receives. Both numbers of a direction go together; rates are bits per second,
bursts bits. A rate below one byte per second becomes that, and a burst below one frame becomes
one frame, because nothing would pass otherwise.

Behind a veth pair (bridge, ptp) the limits are on the host. Any other interface (macvlan, ipvlan,
host-device) is limited inside the container, which may take the limits away if it has
CAP_NET_ADMIN. One direction needs an ifb, called bwp and a hash, beside the shaped link.",
    keys: &[
        (
            "ingressRate, ingressBurst",
            "number, no limit",
            "what the container may receive",
        ),
        (
            "egressRate, egressBurst",
            "number, no limit",
            "what the container may send",
        ),
        (
            "runtimeConfig.bandwidth",
            "{ingressRate, ingressBurst, egressRate, egressBurst}",
            "the same from the runtime; not looked at if the file has any of the keys above",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "plugins": [
        {
            "type": "bridge",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.10.0.0/16"}]]}
        },
        {
            "type": "bandwidth",
            "capabilities": {"bandwidth": true},
            "ingressRate": 8000000, "ingressBurst": 800000,
            "egressRate": 8000000, "egressBurst": 800000
        }
    ]
}"#,
};
