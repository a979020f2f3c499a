//! What `sbr --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "routes a container's packets by their source address",
    description: "\
A chained plugin, for the second and further interfaces of a container: the interface is made by
the plugin before it. Each of its addresses gets a routing table of its own, from 100 on, which
takes the interface's routes from the main table, and a rule: from ADDRESS lookup TABLE.

DEL takes the rules away also when the interface is gone, and gives the routes back when it is
not. What ADD made is written down in /run/davit-cni/sbr; rules have the protocol number 218.",
    keys: &[
        (
            "table",
            "number",
            "a table that is filled by somebody else: only rules are made",
        ),
        (
            "gateways",
            "list of IP addresses",
            "instead of the addresses' own gateways; at most one of each family",
        ),
        (
            "addSourceHints",
            "bool, false",
            "the interface's networks stay in the main table, with the address as source",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "second",
    "plugins": [
        {
            "type": "macvlan", "master": "eth1",
            "ipam": {
                "type": "static",
                "addresses": [{"address": "10.20.0.5/24", "gateway": "10.20.0.1"}]
            }
        },
        {"type": "sbr"}
    ]
}"#,
};
