//! What `ptp --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "connects a container to the host by a link of its own",
    description: "\
Makes a veth pair with one end in the container. The host's end has the gateway's address; all
that the container sends goes through the host, which forwards. Containers reach each other only
as far as the host lets them.

An IPv6 address makes the host a router, and a router takes no default route from router
advertisements: a host that has its own by them keeps it with net.ipv6.conf.LINK.accept_ra=2.",
    keys: &[
        ("ipMasq", "bool, false", "masquerade what leaves the subnet"),
        (
            "ipMasqBackend",
            "string",
            "iptables or nftables; absent: iptables if the host has it",
        ),
        ("mtu", "number, the kernel's", "MTU of both ends"),
        (
            "ipam",
            "object",
            "the plugin that assigns addresses, with a gateway for each; required",
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
    "type": "ptp",
    "ipMasq": true,
    "ipam": {
        "type": "host-local",
        "subnet": "10.11.0.0/16",
        "routes": [{"dst": "0.0.0.0/0"}]
    }
}"#,
};
