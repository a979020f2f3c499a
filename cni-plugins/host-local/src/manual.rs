//! What `host-local --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "assigns addresses from ranges and remembers them on this host",
    description: "\
An IPAM plugin: other plugins execute it, named by the type of their ipam. A container gets one
address of each range set, in turn; an address that was released is the last to be used again.

Reservations are files below dataDir/NAME, one per address, as the reference plugin keeps them:
either may follow the other on a node with running containers. dataDir/.davit holds an index of
ours, which may be deleted at any time.

A repeated ADD for the same container and interface answers with the same addresses. Reservations
made before the last reboot stay for a container that is started again, and are given to others
when nothing else is free. Subnets of one or two addresses are used whole and have no gateway
unless one is given.",
    keys: &[
        (
            "ipam.ranges",
            "list of lists of {subnet, rangeStart, rangeEnd, gateway, noGateway, exclude}",
            "the range sets; a container gets one address of each",
        ),
        (
            "ipam.subnet, rangeStart, rangeEnd, gateway, noGateway",
            "as in a range",
            "a single range, placed before those of ranges",
        ),
        (
            "exclude",
            "list of addresses and subnets",
            "in a range: never handed out of it; ipam.exclude: of no range",
        ),
        (
            "noGateway",
            "bool, false",
            "the range has no gateway, and the first address is one like the others",
        ),
        (
            "ipam.routes",
            "list of {dst, gw, mtu, advmss, priority, table, scope}",
            "routes for the container",
        ),
        (
            "ipam.dataDir",
            "path, /var/lib/cni/networks",
            "where the reservations are",
        ),
        (
            "ipam.resolvConf",
            "path",
            "a resolv.conf whose servers and domains become the result's dns",
        ),
        (
            "runtimeConfig.ipRanges",
            "as ipam.ranges",
            "range sets of the runtime, placed first",
        ),
        (
            "runtimeConfig.ips, args.cni.ips, CNI_ARGS IP",
            "list of addresses",
            "addresses that the container wants; args.cni.ips take the place of CNI_ARGS",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "mynet",
    "type": "bridge",
    "ipam": {
        "type": "host-local",
        "ranges": [
            [{"subnet": "10.10.0.0/16", "rangeStart": "10.10.1.1", "exclude": ["10.10.9.0/24"]}],
            [{"subnet": "fd00:10::/64"}]
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    }
}"#,
};
