//! What `portmap --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "forwards ports of the host to a container",
    description: "\
A chained plugin: the container's addresses come from the plugin before it. The mappings come
from the runtime, as capability portMappings. A port that another container or a listening socket
of the host has is refused.

Clients reach a mapping from outside, from the host by any of its addresses (IPv4: 127.0.0.1 too),
and from the container itself. There is no way from ::1, because the kernel routes it nowhere.",
    keys: &[
        (
            "backend",
            "string",
            "iptables or nftables; absent: iptables if the host has it",
        ),
        (
            "snat",
            "bool, true",
            "masquerade where an answer would not find its way: hairpin and 127.0.0.1",
        ),
        ("masqAll", "bool, false", "masquerade whoever connects"),
        (
            "markMasqBit",
            "number, 13",
            "bit of the packet mark that means masquerade (iptables)",
        ),
        (
            "externalSetMarkChain",
            "string",
            "a chain that sets the mark instead: KUBE-MARK-MASQ (iptables)",
        ),
        (
            "conditionsV4, conditionsV6",
            "list of strings",
            "words of the back end that a packet must match besides",
        ),
        (
            "runtimeConfig.portMappings",
            "list of {hostPort, containerPort, protocol, hostIP}",
            "the mappings; protocol tcp, udp, sctp or dccp",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "plugins": [
        {
            "type": "bridge",
            "isDefaultGateway": true,
            "ipMasq": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.10.0.0/16"}]]}
        },
        {
            "type": "portmap",
            "capabilities": {"portMappings": true}
        }
    ]
}"#,
};
