//! What `loopback --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "brings a container's lo up",
    description: "\
CNI_IFNAME is not looked at: the interface is always lo. An address on it that is no loopback
address is an error, for then the namespace is in some other use.",
    keys: &[],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "lo",
    "type": "loopback"
}"#,
};
