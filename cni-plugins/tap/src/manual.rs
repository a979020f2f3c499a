//! What `tap --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "makes a persistent tap device in the container",
    description: "\
A tap device gives its frames to a program: a virtual machine, a user-space switch. The device is
made in the container's namespace and waits there for whoever attaches to it; with owner or group
that needs no privilege. With bridge it becomes a port of a bridge in the container. Without ipam
it has no addresses.

The program ip(8) is not used.",
    keys: &[
        (
            "multiQueue",
            "bool, false",
            "several queues: who attaches has to ask for them as well",
        ),
        ("mtu", "number, the kernel's", "MTU of the device"),
        (
            "owner",
            "number",
            "user id that may attach without privilege",
        ),
        (
            "group",
            "number",
            "group id that may attach without privilege",
        ),
        (
            "bridge",
            "string",
            "bridge inside the container of which the device becomes a port",
        ),
        (
            "selinuxContext",
            "string",
            "SELinux context of the device: that of who will attach to it",
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
            "runtimeConfig.mac, args.cni.mac, CNI_ARGS MAC, mac",
            "string",
            "Ethernet address of the device, the first that is given",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "vmnet",
    "type": "tap",
    "multiQueue": true,
    "mtu": 1500,
    "owner": 107,
    "group": 107
}"#,
};
