//! What `ipvlan --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "gives a container addresses on a link of the host, with its Ethernet address",
    description: "\
For networks that allow one Ethernet address per port, and for wireless links. The container does
not reach the host itself over that link.

Chained behind another plugin it is made on that plugin's link; without ipam it takes that
plugin's addresses too.",
    keys: &[
        (
            "master",
            "string",
            "the link it is made on; absent: the previous plugin's, or that of the default route",
        ),
        (
            "mode",
            "string, l2",
            "l2: the container is on the master's network; l3: the master routes for it; l3s: and \
             the host's packet filter sees it",
        ),
        (
            "flag",
            "string, bridge",
            "bridge: links of one master reach each other; private: they do not; vepa: by the switch",
        ),
        ("mtu", "number, the master's", "not above the master's"),
        (
            "linkInContainer",
            "bool, false",
            "the master is in the container's namespace",
        ),
        ("ipam", "object", "the plugin that assigns addresses"),
        (
            "dns",
            "object",
            "replaces that of the IPAM plugin if anything is set",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "type": "ipvlan",
    "master": "eth0",
    "ipam": {
        "type": "host-local",
        "subnet": "192.0.2.0/24",
        "rangeStart": "192.0.2.100"
    }
}"#,
};
