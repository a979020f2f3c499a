//! What `vlan --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "gives a container a VLAN of a link of the host",
    description: "\
What the container sends leaves the master with the VLAN's tag, and frames with that tag are its
alone: the kernel knows one link per master, protocol and number. With shared several containers
have the same VLAN, each with an Ethernet address of its own, over a macvlan of its own that is
seen in the container as another link.",
    keys: &[
        ("master", "string", "the link it is made on; required"),
        ("vlanId", "number", "0 to 4094; required"),
        (
            "protocol",
            "string, 802.1q",
            "802.1q, or 802.1ad for the outer of two tags",
        ),
        (
            "shared",
            "bool, false",
            "more than one container may have this VLAN; all of them must be shared",
        ),
        ("mtu", "number, the master's", "not above the master's"),
        (
            "linkInContainer",
            "bool, false",
            "the master is in the container's namespace",
        ),
        (
            "ipam",
            "object",
            "the plugin that assigns addresses; without it the interface has none",
        ),
        (
            "dns",
            "object",
            "replaces that of the IPAM plugin if anything is set",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "type": "vlan",
    "master": "eth0",
    "vlanId": 5,
    "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}
}"#,
};
