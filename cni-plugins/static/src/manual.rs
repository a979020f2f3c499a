//! What `static --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "assigns the addresses that the configuration or the runtime names",
    description: "\
An IPAM plugin: other plugins execute it, named by the type of their ipam. It chooses nothing.

Addresses of CNI_ARGS are added to those of ipam.addresses. args.cni.ips replaces them all, and
runtimeConfig.ips replaces those; a gateway of the configuration stays with an address whose
subnet it is in.

It keeps nothing, unless ipam.unique asks it to refuse an address that another container of the
same network has.",
    keys: &[
        (
            "ipam.addresses",
            "list of {address, gateway}",
            "addresses with the length of their prefix: 10.10.0.5/24",
        ),
        (
            "ipam.routes",
            "list of {dst, gw, mtu, advmss, priority, table, scope}",
            "routes for the container",
        ),
        (
            "ipam.dns",
            "{nameservers, domain, search, options}",
            "name resolution for the container",
        ),
        (
            "ipam.unique",
            "bool, false",
            "whether an address is given to one container of the network at a time",
        ),
        (
            "ipam.dataDir",
            "path, /run/davit-cni/static",
            "where it is remembered who has which address",
        ),
        (
            "CNI_ARGS IP, GATEWAY",
            "lists with commas between",
            "more addresses; a gateway is that of each address whose subnet it is in",
        ),
        (
            "args.cni.ips, runtimeConfig.ips",
            "list of addresses with prefix lengths",
            "addresses instead of those of the configuration",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "type": "bridge",
    "ipam": {
        "type": "static",
        "addresses": [
            {"address": "10.10.0.5/24", "gateway": "10.10.0.1"},
            {"address": "fd00:10::5/64"}
        ],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.10.0.1"]},
        "unique": true
    }
}"#,
};
