//! What `bridge --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "connects a container to a Linux bridge on the host",
    description: "\
Makes the bridge on demand and a veth pair with one end in the container and the other as a port
of the bridge. With isGateway the bridge has the subnet's gateway address and the host forwards;
with ipMasq the container reaches the world with the host's address. Without ipam the network has
no addresses: a switch.

An IPv6 gateway makes the host a router, and a router takes no default route from router
advertisements: a host that has its own by them keeps it with net.ipv6.conf.LINK.accept_ra=2.

A bridge stays when its last container leaves. Everything else goes with DEL, also when the
namespace is gone, or with GC.",
    keys: &[
        (
            "bridge",
            "string, cni0",
            "name of the bridge; made if missing",
        ),
        (
            "isGateway",
            "bool, false",
            "the bridge gets the gateway address, and forwarding is switched on",
        ),
        (
            "isDefaultGateway",
            "bool, false",
            "isGateway, and the container's default route leads to the bridge",
        ),
        (
            "forceAddress",
            "bool, false",
            "replace an address of the bridge that differs from the gateway",
        ),
        ("ipMasq", "bool, false", "masquerade what leaves the subnet"),
        (
            "ipMasqBackend",
            "string",
            "iptables or nftables; absent: iptables if the host has it",
        ),
        (
            "mtu",
            "number, the kernel's",
            "MTU of both ends and of a new bridge",
        ),
        (
            "hairpinMode",
            "bool, false",
            "frames may leave by the port they came from; not with promiscMode",
        ),
        ("promiscMode", "bool, false", "the bridge is promiscuous"),
        (
            "vlan",
            "number, 0",
            "VLAN of the container's untagged frames, 1 to 4094; with isGateway the gateway's too",
        ),
        (
            "vlanTrunk",
            "list of {id} or {minID, maxID}",
            "VLANs that the container may send tagged",
        ),
        (
            "preserveDefaultVlan",
            "bool, false",
            "the port stays in VLAN 1 as well",
        ),
        (
            "macspoofchk",
            "bool, false",
            "drop frames with another source address than the interface's",
        ),
        (
            "enabledad",
            "bool, false",
            "detect duplicate IPv6 addresses, and wait for it",
        ),
        (
            "disableContainerInterface",
            "bool, false",
            "leave the interface down; not with ipam",
        ),
        (
            "portIsolation",
            "bool, false",
            "containers with this set cannot reach each other over the bridge",
        ),
        (
            "ipam",
            "object",
            "the plugin that assigns addresses: {\"type\": \"host-local\", ...}",
        ),
        (
            "dns",
            "object",
            "replaces that of the IPAM plugin if anything is set",
        ),
        (
            "runtimeConfig.mac, args.cni.mac, CNI_ARGS MAC",
            "string",
            "Ethernet address of the interface, the first that is given",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "type": "bridge",
    "bridge": "mynet0",
    "isDefaultGateway": true,
    "ipMasq": true,
    "hairpinMode": true,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.10.0.0/16"}]]
    }
}"#,
};
