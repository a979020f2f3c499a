//! What `macvlan --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "gives a container its own Ethernet address on a link of the host",
    description: "\
The container is on the master's network like a machine of its own. It does not reach the host
itself over that link: the kernel passes no frame between a macvlan and its master.",
    keys: &[
        (
            "master",
            "string",
            "the link it is made on; absent: that of the default route",
        ),
        (
            "mode",
            "string, bridge",
            "bridge: links of one master reach each other; private: they do not; vepa: by the \
             switch; passthru: the only one, with the master's address",
        ),
        ("mtu", "number, the master's", "not above the master's"),
        (
            "bcqueuelen",
            "number, the kernel's",
            "frames to all that the master keeps for its macvlans (Linux 5.11)",
        ),
        (
            "linkInContainer",
            "bool, false",
            "the master is in the container's namespace",
        ),
        (
            "mac, CNI_ARGS MAC, runtimeConfig.mac",
            "string",
            "Ethernet address of the interface; the last that is given",
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
    "type": "macvlan",
    "master": "eth0",
    "ipam": {"type": "dhcp"}
}"#,
};
