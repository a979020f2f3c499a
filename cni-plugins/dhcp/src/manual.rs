//! What `dhcp --help` and its man page say.

use cni_plugin::Manual;

pub(crate) const MANUAL: Manual = Manual {
    summary: "leases addresses from the DHCP server of a network, and keeps them",
    description: "\
An IPAM plugin: other plugins execute it, named by the type of their ipam. It asks a daemon, which
has to run on the host:

    dhcp daemon [-pidfile FILE] [-socketpath PATH] [-hostprefix DIRECTORY] [-broadcast]
                [-timeout 10s] [-resendmax 62s] [-resendtimeout 208s]

The daemon gets the leases, extends them, and gives them back at DEL, also when the container's
interface is gone. A lease that changes is applied to the interface; one that expires takes the
address from it. Leases are kept in files beside the socket, so that a daemon that was restarted
goes on with them; a DEL that finds no daemon leaves a note there. systemd may listen for it
(LISTEN_FDS).

A result has an address of each family, the router, the routes of options 121, 33 and 3, and the
name servers, domain and search list of the server; the MTU of option 26 is that of the routes.",
    keys: &[
        (
            "ipam.daemonSocketPath",
            "path, /run/cni/dhcp.sock",
            "where the daemon listens",
        ),
        (
            "ipam.families",
            "list of ipv4, ipv6; [ipv4]",
            "DHCPv4, DHCPv6 or both; ADD needs a lease of each",
        ),
        (
            "ipam.provide",
            "list of {option, value, fromArg}",
            "DHCPv4 options to send; fromArg names a key of CNI_ARGS that wins over value",
        ),
        (
            "ipam.request",
            "list of {option, skipDefault}",
            "DHCPv4 options to ask for beside the usual ones, or with skipDefault instead of them",
        ),
        (
            "ipam.priority",
            "number, 0",
            "metric of every route in the result",
        ),
        (
            "ipam.timeout",
            "seconds, 60",
            "after this long without a lease ADD fails with code 11",
        ),
    ],
    example: r#"{
    "cniVersion": "1.1.0",
    "name": "lan",
    "type": "macvlan",
    "master": "eth0",
    "ipam": {
        "type": "dhcp",
        "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"}]
    }
}"#,
};
