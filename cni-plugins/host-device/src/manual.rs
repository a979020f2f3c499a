//! What `host-device --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "moves a device of the host into a container",
    description: "\
The device is in the container, under CNI_IFNAME, until DEL: nobody else has it. Then it comes back
with the name, Ethernet address, MTU, alias and state that it had. If its name is taken by then it
is called dev0, dev1 and so on, and its alias tells the name. Addresses and routes of the host are
lost; a default route is lost with a warning.

A device that comes back because the container's namespace ended is put right by DEL, GC or the
next ADD that wants it. A PCI device that is bound to vfio-pci, uio_pci_generic or igb_uio is not
moved: the result names it, and IPAM is asked. One of device, hwaddr, kernelpath, deviceID and
pciBusID has to be given; the first of them decides.",
    keys: &[
        ("device", "string", "name of the device: eth7"),
        ("hwaddr", "string", "its Ethernet address"),
        (
            "kernelpath",
            "string",
            "its directory in sysfs: /sys/devices/pci0000:00/0000:00:1f.6",
        ),
        (
            "runtimeConfig.deviceID",
            "string",
            "PCI address or name of an auxiliary device, chosen by the runtime",
        ),
        ("pciBusID", "string", "PCI address: 0000:00:1f.6"),
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
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "uplink",
    "type": "host-device",
    "device": "eth7",
    "ipam": {
        "type": "host-local",
        "subnet": "192.0.2.0/24"
    }
}"#,
};
