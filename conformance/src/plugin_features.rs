//! The features that a directory of CNI plugins is scored by: one line of the score sheet each.
//!
//! Rows of the suite name their feature in their id; a feature holds if all of its rows do. What
//! the caller of plugins does is no property of a directory of plugins and is scored on sheets of
//! its own (`caller_features`). SU07 (a tool that lists what is left) is `davit-cni list`.

/// How the newest reference release (1.9.1) does, read from its source. Debian's 1.1.1 is older:
/// `known-gaps.toml` says what that one lacks besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// It has the feature.
    Y,
    /// It has a part of it.
    P,
    /// It lacks the feature.
    N,
    /// It has the feature with a defect.
    B,
    /// A question that cannot be put to it.
    Unasked,
}

/// Number, the reference's state, and what it is, in the order of the sheet.
pub(crate) const PLUGIN_FEATURES: &[(&str, Reference, &str)] = {
    use Reference::{B, N, P, Unasked, Y};
    &[
        ("PR01", Y, "VERSION lists every version, without stdin"),
        ("PR02", N, "VERSION answers in the version asked"),
        ("PR03", Y, "banner on stderr without a command"),
        ("PR04", P, "all wrong variables are named, code 4"),
        ("PR05", Y, "unknown verb: code 4"),
        ("PR06", Y, "bad container id: code 4, nothing changed"),
        ("PR07", P, "a bad or taken interface name is refused"),
        ("PR08", Y, "bad network name: code 7"),
        ("PR09", Y, "stdin that cannot be decoded: code 6"),
        ("PR10", Y, "unsupported version: code 1 and the list"),
        ("PR11", Y, "verbs above the configuration's version: code 1"),
        ("PR12", B, "one document on stdout, whatever happens"),
        ("PR13", N, "errors carry cniVersion"),
        ("PR14", N, "a code for each kind of failure"),
        ("PR15", B, "no input ends a plugin by a signal"),
        ("PR16", Y, "silence when DEL, CHECK, GC, STATUS succeed"),
        ("PR17", B, "the host's own namespace is refused first"),
        ("PR18", Y, "CNI_NETNS_OVERRIDE"),
        ("PR19", Y, "results in the configuration's version"),
        ("PR20", B, "what cannot be converted changes nothing"),
        ("PR21", Y, "prevResult of the same family only"),
        ("PR22", Y, "keys in any case"),
        ("PR23", Y, "an empty address is an unset one"),
        ("PR24", Y, "CNI_ARGS by its grammar"),
        ("PR25", Y, "unknown cni.dev/ keys do no harm"),
        ("PR26", N, "GC: no list keeps all, an empty one keeps none"),
        ("PR27", P, "64 MiB of stdin, in time and memory"),
        ("PR28", Y, "GC and STATUS with empty variables"),
        ("PR29", P, "no need of a directory or an environment"),
        ("PR30", N, "a held lock ends in code 11, in time"),
        ("PR31", P, "delegates are asked, told and undone"),
        ("PR32", P, "results name the interface and pass the rest on"),
        ("BR01", Y, "bridge is made once, and has to be one"),
        ("BR02", Y, "veth with its host end as a port"),
        ("BR03", Y, "gateway address and forwarding"),
        ("BR04", Y, "isDefaultGateway"),
        ("BR05", B, "isDefaultGateway beside IPAM's own default"),
        ("BR06", Y, "forceAddress"),
        ("BR07", Y, "ipMasq of both families"),
        ("BR08", Y, "ipMasq by nftables"),
        ("BR09", Y, "DEL takes ipMasq back"),
        ("BR10", B, "the same without the namespace"),
        ("BR11", P, "mtu set, and told in 1.1.0"),
        ("BR12", Y, "hairpinMode, promiscMode, not both"),
        ("BR13", Y, "portIsolation"),
        ("BR14", Y, "vlan, vlanTrunk, preserveDefaultVlan"),
        ("BR15", N, "the gateway of a VLAN goes with its last user"),
        ("BR16", Y, "macspoofchk"),
        ("BR17", B, "macspoofchk goes without the namespace"),
        ("BR18", Y, "MAC by CNI_ARGS, args, runtimeConfig"),
        ("BR19", Y, "enabledad, on and off"),
        ("BR20", Y, "disableContainerInterface"),
        ("BR21", B, "no IPAM: ADD, CHECK, DEL"),
        ("BR22", Y, "order of interfaces in the result"),
        ("BR23", Y, "dns of the configuration, if it has any"),
        ("BR24", P, "failed IPAM leaves no link"),
        ("BR25", P, "late failures leave nothing"),
        ("BR26", N, "bad namespace makes no bridge"),
        ("BR27", B, "DEL with a plain file for a namespace"),
        ("BR28", Y, "CHECK: link, MAC, port, address, route"),
        ("BR29", N, "CHECK: masquerade, forwarding, VLAN, hairpin"),
        ("BR30", B, "CHECK bears a bridge whose MAC follows ports"),
        ("BR31", B, "fifty first ADDs at once"),
        ("BR32", N, "GC: rules, ports, addresses of the dead"),
        ("BR33", P, "STATUS: delegate missing, pool full"),
        ("BR34", P, "attributes of routes are applied"),
        ("HL01", Y, "one range by the old keys"),
        ("HL02", Y, "several range sets, both families"),
        ("HL03", Y, "several ranges in a set"),
        ("HL04", Y, "rangeStart, rangeEnd, gateway"),
        ("HL05", Y, "round robin"),
        ("HL06", Y, "round robin wraps"),
        ("HL07", Y, "requested addresses, three ways"),
        ("HL08", Y, "why a requested address is refused"),
        ("HL09", P, "a full range has a code"),
        ("HL10", Y, "ipRanges of the runtime come first"),
        ("HL11", Y, "bad ranges are refused"),
        ("HL12", Y, "reservations byte by byte"),
        ("HL13", Y, "reservations of the reference are read"),
        ("HL14", Y, "DEL of a stranger, DEL twice"),
        ("HL15", B, "DEL when the ranges have changed"),
        ("HL16", B, "ADD again leaks nothing"),
        ("HL17", B, "half-written reservations come back"),
        ("HL18", B, "SIGKILL anywhere leaks nothing"),
        ("HL19", B, "full or read-only disk leaks nothing"),
        ("HL20", N, "reservations of before a reboot come back"),
        ("HL21", Y, "a thousand ADDs at once"),
        ("HL22", N, "cost does not grow with the pool"),
        ("HL23", Y, "routes and resolv.conf in the result"),
        ("HL24", P, "an IPv6 /64 is not walked"),
        ("HL25", P, "/31, /32, /127"),
        ("HL26", N, "pools without a gateway"),
        ("HL27", N, "addresses that are left out"),
        ("HL28", N, "CHECK compares addresses"),
        ("HL29", N, "GC releases the dead alone"),
        ("HL30", N, "STATUS of a pool without room"),
        ("HL31", P, "very long names"),
        ("PM01", Y, "TCP from outside, the host, 127.0.0.1"),
        ("PM02", Y, "UDP and SCTP"),
        ("PM03", Y, "hairpin"),
        ("PM04", Y, "hostIP"),
        ("PM05", N, "bad hostIP is refused"),
        ("PM06", N, "bad port or protocol is refused"),
        ("PM07", B, "protocol in capitals"),
        ("PM08", Y, "more ports than one rule takes"),
        (
            "PM09",
            Y,
            "snat, masqAll, markMasqBit, externalSetMarkChain",
        ),
        ("PM10", B, "conditions bind their own container"),
        ("PM11", Y, "nftables; forwarded traffic is left alone"),
        ("PM12", P, "IPv6"),
        ("PM13", Y, "route_localnet where it is needed"),
        ("PM14", P, "UDP flows are flushed by ADD and DEL"),
        ("PM15", Y, "DEL removes its own and no more"),
        ("PM16", N, "DEL that is told no mappings"),
        ("PM17", B, "two interfaces of one container"),
        ("PM18", B, "ADD again leaves no stale target"),
        ("PM19", N, "a port of another container"),
        ("PM20", N, "a port that the host listens on"),
        ("PM21", P, "CHECK misses no rule"),
        ("PM22", B, "fifty first ADDs at once"),
        ("PM23", Y, "chains of the reference are removed"),
        ("PM24", N, "GC: mappings of the dead"),
        ("PM25", Y, "nothing to do starts no process"),
        ("PM26", B, "ids longer than a comment"),
        ("LO01", Y, "lo is up and told"),
        ("LO02", Y, "prevResult goes through"),
        ("LO03", P, "strange address on lo"),
        ("LO04", B, "the host's lo stays up"),
        ("PT01", Y, "addresses, routes, packets both ways"),
        ("PT02", Y, "both families"),
        ("PT03", Y, "ipMasq by either tool"),
        ("PT04", B, "IPAM without a gateway"),
        ("PT05", B, "late failures leave nothing"),
        ("PT06", N, "DEL goes on when IPAM does not"),
        ("PT07", B, "DEL without the namespace"),
        ("PT08", P, "CHECK, STATUS, GC"),
        ("HD01", Y, "device, hwaddr, kernelpath"),
        ("HD02", Y, "pciBusID, deviceID, auxiliary devices"),
        ("HD03", Y, "devices bound to a user-space driver"),
        ("HD04", Y, "the old name comes back"),
        ("HD05", B, "failed IPAM gives the device back"),
        ("HD06", B, "DEL with an empty namespace"),
        ("HD07", B, "DEL with a namespace that is gone"),
        ("HD08", B, "DEL twice, DEL without the interface"),
        ("HD09", B, "the old name is taken"),
        ("HD10", B, "the device has vanished"),
        ("HD11", P, "MAC, MTU and state come back"),
        ("MV01", Y, "modes"),
        ("MV02", Y, "master by the default route"),
        ("MV03", Y, "mac, mtu, bcqueuelen"),
        ("MV04", Y, "linkInContainer"),
        ("MV05", B, "failed IPAM leaves no link"),
        ("MV06", B, "IPAM's dns is kept"),
        ("MV07", Y, "DEL without the master"),
        ("MV08", N, "CHECK compares the master"),
        ("MV09", Y, "neighbours are told"),
        ("IV01", P, "modes and flags"),
        ("IV02", Y, "master and addresses of prevResult"),
        ("IV03", B, "failures leave nothing"),
        ("IV04", B, "DEL without a default route"),
        ("VL01", P, "bounds of vlanId, and what is said"),
        ("VL02", N, "several containers on one VLAN"),
        ("VL03", B, "failures leave nothing; DEL without the master"),
        ("VL04", B, "linkInContainer and a namespace that is gone"),
        ("DU01", Y, "with and without IPAM"),
        ("DU02", Y, "an interface that is there"),
        ("TA01", Y, "owner, group, queues, persistence"),
        ("TA02", B, "mac and mtu beside owner and group"),
        ("TA03", B, "an interface that is there is left alone"),
        ("TA04", Y, "bridge inside the container"),
        ("TA05", N, "no program is needed"),
        ("TA06", Y, "selinuxContext"),
        ("DH01", Y, "lease, gateway, routes, priority"),
        ("DH02", Y, "options sent and asked for"),
        ("DH03", Y, "renewing and rebinding"),
        ("DH04", N, "a new address after rebinding"),
        ("DH05", P, "DEL releases, without the interface too"),
        ("DH06", B, "DEL without the daemon"),
        ("DH07", N, "leases live through a restart"),
        ("DH08", N, "a stale socket is no obstacle"),
        ("DH09", N, "DNS, domain, MTU, NTP"),
        ("DH10", N, "DHCPv6 and router advertisements"),
        ("DH11", B, "CHECK acquires nothing"),
        ("DH12", P, "ADD without a server ends in time"),
        ("DH13", B, "no ipam key: an error"),
        ("DH14", B, "an interface that vanished blocks nobody"),
        ("DH15", Y, "socket activation, pidfile, hostprefix"),
        ("DH16", B, "broadcast flag"),
        ("DH17", N, "a thousand leases without as many threads"),
        ("DH18", N, "STATUS without the daemon"),
        ("ST01", Y, "addresses of every source"),
        ("ST02", N, "an override keeps the gateway"),
        ("ST03", B, "CHECK looks for the address"),
        ("ST04", N, "one address, two containers"),
        ("ST05", N, "no address at all"),
        ("TU01", Y, "sysctls in both spellings, IFNAME"),
        ("TU02", Y, "only below net, no way out"),
        ("TU03", P, "list of allowed sysctls"),
        ("TU04", P, "one sysctl twice"),
        ("TU05", Y, "attributes of the link, and back"),
        ("TU06", P, "mac and mtu in the result"),
        ("TU07", P, "the default route stays"),
        ("TU08", B, "the backup goes with the namespace"),
        ("TU09", B, "two entries in one list"),
        ("TU10", B, "sysctls by args alone"),
        ("TU11", B, "CHECK: case, tabs, promisc"),
        ("TU12", N, "a failure in the middle is undone"),
        ("FW01", Y, "accepted behind a dropping FORWARD; admin chain"),
        ("FW02", Y, "ingressPolicy"),
        ("FW03", N, "isolation goes with the last user"),
        ("FW04", N, "nftables"),
        ("FW05", B, "one of iptables and ip6tables is enough"),
        ("FW06", B, "unknown backend or policy: code 7 first"),
        ("FW07", P, "firewalld"),
        ("FW08", B, "DEL without prevResult"),
        ("FW09", B, "CHECK reads only and misses nothing"),
        ("FW10", N, "addresses of its own interface only"),
        ("BW01", Y, "measured rates, both ways"),
        ("BW02", Y, "limits of the runtime and of the file"),
        ("BW03", B, "tiny and huge rates"),
        ("BW04", B, "two interfaces of one container"),
        ("BW05", N, "ADD again; undo"),
        ("BW06", P, "DEL and GC take the ifb"),
        ("BW07", B, "no limit and no prevResult"),
        ("SB01", Y, "a table and a rule for each address"),
        ("SB02", Y, "table, gateways, addSourceHints"),
        ("SB03", B, "DEL without the namespace makes no file"),
        ("SB04", B, "DEL without the interface takes the rules"),
        ("SB05", N, "CHECK misses no rule"),
        ("VR01", P, "VRF made or reused, table free"),
        ("VR02", Y, "IPv6 addresses and routes stay"),
        ("VR03", P, "DEL; the VRF goes with its last member"),
        ("SU01", N, "one program by many names"),
        ("SU02", N, "less than 10 MB in all"),
        ("SU03", P, "time of a chain's ADD and DEL"),
        ("SU04", N, "processes started by an ADD"),
        ("SU05", B, "200 mixed calls at once"),
        (
            "SU06",
            Unasked,
            "the reference's attachments are taken over",
        ),
        ("SU08", P, "silent, and a log on demand"),
    ]
};

/// What the table calls missing or broken and Debian's 1.1.1 does not show, with the reason: it
/// is older than the defect, or would need what no machine of ours has.
#[cfg(test)]
const UNSEEN: &[(&str, &str)] = &[
    (
        "BR31",
        "its chains are each container's own: nothing is shared but the bridge",
    ),
    (
        "DH16",
        "it sends the flag; that it is stored and never read came later",
    ),
    (
        "PM26",
        "it has no nftables, and comments of iptables take 255 bytes",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::Gaps;

    /// The feature of a row, from its name.
    fn feature(row: &str) -> &str {
        row.split('.').next().unwrap_or(row)
    }

    #[test]
    fn what_the_reference_lacks_was_seen_to_fail_there() {
        let gaps = Gaps::shipped().names();
        let of_reference = gaps.iter().filter(|(subject, _)| subject == "reference");
        let seen: Vec<&str> = of_reference.map(|(_, row)| feature(row)).collect();
        for (id, state, title) in PLUGIN_FEATURES {
            let is_unseen = UNSEEN.iter().any(|(unseen, _)| unseen == id);
            let is_seen = seen.contains(id);
            let is_lacking = matches!(state, Reference::N | Reference::B);
            assert!(
                !is_lacking || is_seen || is_unseen,
                "{id} ({title}): no row of it is a known gap of the reference"
            );
            assert!(!is_unseen || !is_seen, "{id} was seen after all");
        }
    }

    #[test]
    fn every_feature_has_a_row() {
        let rows = crate::rows();
        for (id, _, title) in PLUGIN_FEATURES {
            assert!(rows.iter().any(|row| row.id == *id), "{id} ({title})");
        }
    }
}
