//! What `vrf --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "puts a container's interface into a VRF",
    description: "\
A chained plugin: the interface is made by the plugin before it. A VRF is a routing table of its
own for the interfaces in it. It is made in the container's namespace if it is not there, shared by
all interfaces that name it, and removed with the last one. The interface keeps its addresses; its
routes move into the VRF's table.",
    keys: &[
        ("vrfname", "string, required", "the name of the VRF"),
        (
            "table",
            "number, 0",
            "its routing table; 0: the lowest that no VRF, route or rule uses",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "blue",
    "plugins": [
        {
            "type": "macvlan", "master": "eth1",
            "ipam": {"type": "static", "addresses": [{"address": "10.20.0.5/24"}]}
        },
        {"type": "vrf", "vrfname": "blue"}
    ]
}"#,
};
