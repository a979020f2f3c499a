//! What `firewall --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "lets a container's traffic pass the host's packet filter, or not",
    description: "\
A chained plugin, from cniVersion 0.4.0: the container's addresses come from the plugin before it.
What the container sends may be forwarded, and what answers it, although the host's policy for
forwarding is to drop. With an ingress policy, containers of other bridges, or of the same one as
well, cannot begin to talk to it.

Back end iptables: chains CNI-FORWARD and CNI-ISOLATION-STAGE-1 and -2 of table filter, as the
reference plugin makes them. Back end nftables: table inet cni_plugins_firewall, without a
process, and the same rules in iptables' FORWARD where there is one. Back end firewalld: the
addresses become sources of a zone, now and permanently, so that a reload keeps them.

The administrator's chain comes before all of that. It is kept while it has rules. A forwarding
chain of the administrator's own that drops has to accept containers itself.",
    keys: &[
        (
            "backend",
            "string",
            "iptables, nftables or firewalld; absent: firewalld if it runs, else iptables, else \
             nftables",
        ),
        (
            "ingressPolicy",
            "string, open",
            "open, same-bridge or isolated; for the bridge that is first in the previous result",
        ),
        (
            "iptablesAdminChainName",
            "string, CNI-ADMIN",
            "the administrator's chain (iptables, nftables)",
        ),
        (
            "firewalldZone",
            "string, trusted",
            "the zone of the container's addresses (firewalld)",
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
            "type": "firewall",
            "ingressPolicy": "same-bridge"
        }
    ]
}"#,
};
