//! What `dummy --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "gives a container an interface that leads nowhere",
    description: "\
For programs that want an interface with an address, whatever network there is. Packets sent over
it vanish.",
    keys: &[
        (
            "ipam",
            "object",
            "the plugin that assigns addresses; required",
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
    "type": "dummy",
    "ipam": {
        "type": "static",
        "addresses": [{"address": "192.0.2.1/32"}]
    }
}"#,
};
