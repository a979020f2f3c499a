//! What `tuning --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "sets sysctls and attributes of a container's interface",
    description: "\
A chained plugin: the interface is made by the plugin before it. Sysctls are those below net, in
the container's namespace, spelt as for sysctl(8); IFNAME in a name is the interface. DEL puts back
what it finds changed, sysctls too, in a namespace that lives on.

If /etc/cni/tuning/allowlist.conf is there, a sysctl must match one of its lines, which are regular
expressions of Go and match anywhere in the key as it is spelt; with a line #anchored in the file
the whole key must match. An empty file allows nothing.",
    keys: &[
        (
            "sysctl",
            "{key: value}",
            "sysctls and their values, all of them strings",
        ),
        (
            "mac",
            "string",
            "Ethernet address; also from CNI_ARGS (MAC) and runtimeConfig.mac",
        ),
        ("promisc", "bool, false", "true: promiscuous"),
        ("mtu", "number, 0", "the MTU; 0 leaves it"),
        (
            "allmulti",
            "bool",
            "whether all multicast frames are received; absent leaves it",
        ),
        (
            "txQLen",
            "number, 0",
            "length of the queue for sending; 0 leaves it",
        ),
        (
            "dataDir",
            "string, /run/cni/tuning",
            "where it is written down what was there before",
        ),
        (
            "args.cni",
            "{sysctl, mac, promisc, mtu, allmulti, txQLen}",
            "override the keys above, one by one",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "plugins": [
        {
            "type": "bridge",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.10.0.0/16"}]]}
        },
        {
            "type": "tuning",
            "capabilities": {"mac": true},
            "sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"},
            "mtu": 1400
        }
    ]
}"#,
};
