//! What a container's network will be: from configuration and IPAM result, without the host.

use std::net::IpAddr;

use cni::{IpConfig, Route};
use interface::Assigned;
use ipnet::IpNet;

use crate::config::{BridgeConfig, Gateway};

/// Index of the container's interface in the result: bridge, host veth, container.
pub(crate) const CONTAINER: usize = 2;
const MAIN_TABLE: u32 = 254;

/// Addresses, routes and gateways, each in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    /// The container's side: gateways filled in, default route included.
    pub(crate) assigned: Assigned,
    /// The bridge's own addresses.
    pub(crate) gateways: Vec<IpNet>,
}

impl Topology {
    /// Decides.
    pub(crate) fn new(config: &BridgeConfig, mut assigned: Assigned) -> Self {
        for ip in &mut assigned.ips {
            let invented =
                || first_address(&ip.address).filter(|_| config.gateway != Gateway::None);
            ip.gateway = ip.gateway.or_else(invented);
        }
        let Assigned { ips, routes, .. } = &mut assigned;
        if config.gateway == Gateway::DefaultRoute {
            add_default_routes(ips, routes);
        }
        let gateways = match config.gateway {
            Gateway::None => Vec::new(),
            Gateway::Address | Gateway::DefaultRoute => gateways(ips),
        };
        Self { assigned, gateways }
    }
}

/// A gateway in the main table's default route is not added beside one that is there.
fn add_default_routes(ips: &[IpConfig], routes: &mut Vec<Route>) {
    for ip in ips {
        let is_v4 = ip.address.addr().is_ipv4();
        let is_default = |route: &Route| {
            let table = route.table.unwrap_or(MAIN_TABLE);
            is_any(&route.dst) && route.dst.addr().is_ipv4() == is_v4 && table == MAIN_TABLE
        };
        if !routes.iter().any(is_default) {
            routes.push(Route::new(any(is_v4), ip.gateway));
        }
    }
}

/// The address after the network's own.
fn first_address(net: &IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip)
            .checked_add(1)
            .map(|ip| IpAddr::V6(ip.into())),
    }
}

/// Two addresses of one subnet have one gateway.
fn gateways(ips: &[IpConfig]) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for ip in ips {
        let net = ip
            .gateway
            .and_then(|gw| IpNet::new(gw, ip.address.prefix_len()).ok());
        if let Some(net) = net.filter(|net| !nets.contains(net)) {
            nets.push(net);
        }
    }
    nets
}

fn is_any(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

fn any(is_v4: bool) -> IpNet {
    if is_v4 {
        ipnet::Ipv4Net::default().into()
    } else {
        ipnet::Ipv6Net::default().into()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use cni::config::Unchecked;
    use cni::{Environment, Error, Request, Version};

    use super::*;

    /// A configuration with these keys.
    fn config(keys: &str) -> Result<BridgeConfig, Error> {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" => "/run/netns/x".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_PATH" => "/nonexistent".to_owned(),
                "CNI_ARGS" => "MAC=02:00:00:00:00:01".to_owned(),
                _ => return None,
            })
        };
        let json = format!(r#"{{"name":"n","cniVersion":"1.1.0","ipam":{{"type":"x"}}{keys}}}"#);
        let environment = Environment::parse(lookup)?.expect("a command is set");
        let config = Unchecked::parse(json.as_bytes())?;
        match Request::new(environment, config, Version::ALL)? {
            Request::Add(add) => BridgeConfig::parse(&add.invocation),
            other => panic!("{other:?}"),
        }
    }

    /// What the topology makes of an IPAM result, as lines like those of ip(8).
    fn decided(keys: &str, ipam: &str) -> String {
        let ipam = serde_json::from_str(ipam).unwrap();
        let ipam = cni::Result::from_json(&ipam, Version::NEWEST).unwrap();
        let assigned = Assigned::new(ipam, CONTAINER).unwrap();
        let topology = Topology::new(&config(keys).unwrap(), assigned);
        let mut text = String::new();
        for address in topology.assigned.addresses() {
            writeln!(text, "container {address}").unwrap();
        }
        for gateway in &topology.gateways {
            writeln!(text, "bridge {gateway}").unwrap();
        }
        for route in topology.assigned.kernel_routes(7) {
            write!(
                text,
                "route {} dev {}",
                route.destination,
                route.link.unwrap()
            )
            .unwrap();
            let fields = [
                ("via", route.gateway.map(|gateway| gateway.to_string())),
                ("table", route.table.map(|table| table.to_string())),
                (
                    "metric",
                    route.priority.map(|priority| priority.to_string()),
                ),
                ("mtu", route.mtu.map(|mtu| mtu.to_string())),
                ("advmss", route.advmss.map(|advmss| advmss.to_string())),
                ("scope", route.scope.map(|scope| scope.to_string())),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    write!(text, " {name} {value}").unwrap();
                }
            }
            text.push('\n');
        }
        text
    }

    const DUAL: &str = r#"{"ips":[{"address":"10.1.0.5/24"},{"address":"fd00::5/64"}]"#;

    #[test]
    fn a_gateway_is_invented_and_the_default_route_leads_to_it() {
        let expected = "container 10.1.0.5/24\ncontainer fd00::5/64\n\
             bridge 10.1.0.1/24\nbridge fd00::1/64\n\
             route 0.0.0.0/0 dev 7 via 10.1.0.1\nroute ::/0 dev 7 via fd00::1\n";
        assert_eq!(
            decided(r#","isDefaultGateway":true"#, &format!("{DUAL}}}")),
            expected
        );
    }

    #[test]
    fn a_default_route_of_ipam_is_not_doubled() {
        // The reference adds a second one when IPAM's has no gateway, and then fails with EEXIST.
        let ipam = format!(r#"{DUAL},"routes":[{{"dst":"0.0.0.0/0"}},{{"dst":"0.0.0.0/0"}}]}}"#);
        let expected = "container 10.1.0.5/24\ncontainer fd00::5/64\n\
             bridge 10.1.0.1/24\nbridge fd00::1/64\n\
             route 0.0.0.0/0 dev 7 via 10.1.0.1\nroute ::/0 dev 7 via fd00::1\n";
        assert_eq!(decided(r#","isDefaultGateway":true"#, &ipam), expected);
    }

    #[test]
    fn a_switch_has_no_address_and_every_route_attribute_is_kept() {
        let ipam = r#"{"ips":[{"address":"10.1.0.5/24","gateway":"10.1.0.254"}],"routes":[
            {"dst":"192.168.0.0/16","mtu":1300,"advmss":1200,"priority":9,"table":77,"scope":0},
            {"dst":"10.2.0.0/16","scope":253},{"dst":"10.3.0.0/16","gw":"10.1.0.7"}]}"#;
        let expected = "container 10.1.0.5/24\n\
             route 192.168.0.0/16 dev 7 via 10.1.0.254 table 77 metric 9 mtu 1300 advmss 1200 scope 0\n\
             route 10.2.0.0/16 dev 7 scope 253\n\
             route 10.3.0.0/16 dev 7 via 10.1.0.7\n";
        assert_eq!(decided("", ipam), expected);
    }

    #[test]
    fn two_subnets_have_two_gateways() {
        let ipam = r#"{"ips":[{"address":"10.1.0.5/24"},{"address":"10.2.0.5/24"}]}"#;
        let expected = "container 10.1.0.5/24\ncontainer 10.2.0.5/24\n\
             bridge 10.1.0.1/24\nbridge 10.2.0.1/24\n";
        assert_eq!(decided(r#","isGateway":true"#, ipam), expected);
    }

    #[test]
    fn what_cannot_be_served_is_code_7_and_names_its_key() {
        let cases = [
            (
                r#","hairpinMode":true,"promiscMode":true"#,
                "hairpin mode and promiscuous mode",
            ),
            (
                r#","disableContainerInterface":true"#,
                "DisableContainerInterface",
            ),
            (r#","vlan":4095"#, "invalid VLAN ID 4095"),
            (r#","vlanTrunk":[{"id":0}]"#, "incorrect trunk id parameter"),
            (r#","vlanTrunk":[{"minID":1}]"#, "maxID is missing"),
            (r#","vlanTrunk":[{"maxID":1}]"#, "minID is missing"),
            (
                r#","vlanTrunk":[{"minID":9,"maxID":5}]"#,
                "minID is greater than maxID",
            ),
            (r#","bridge":"a/b""#, "cannot be the name of a bridge"),
            (r#","mtu":-1"#, "mtu: -1"),
            (
                r#","ipMasq":true,"ipMasqBackend":"pf""#,
                "unknown ipmasq backend \"pf\"",
            ),
            (
                r#","runtimeConfig":{"mac":"x"}"#,
                "runtimeConfig.mac: \"x\"",
            ),
            (r#","ipMasq":"true""#, "ipMasq"),
        ];
        for (keys, words) in cases {
            let error = config(keys).unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{keys}");
            assert!(error.msg.contains(words), "{keys}: {}", error.msg);
        }
    }

    #[test]
    fn the_runtime_decides_about_the_ethernet_address_then_args_then_the_environment() {
        let mac = |keys: &str| config(keys).unwrap().mac.unwrap().to_string();
        assert_eq!(mac(""), "02:00:00:00:00:01");
        let args = r#","args":{"cni":{"mac":"02:00:00:00:00:02"}}"#;
        assert_eq!(mac(args), "02:00:00:00:00:02");
        let both = format!(r#"{args},"runtimeConfig":{{"mac":"02:00:00:00:00:03"}}"#);
        assert_eq!(mac(&both), "02:00:00:00:00:03");
    }

    #[test]
    fn a_trunk_is_flattened_and_sorted() {
        let keys = r#","vlanTrunk":[{"id":200},{"minID":10,"maxID":12},{"id":11}]"#;
        let vlans = config(keys).unwrap().vlans.unwrap();
        assert_eq!(
            vlans.trunk.into_iter().collect::<Vec<_>>(),
            [10, 11, 12, 200]
        );
        assert_eq!(vlans.native, None);
    }
}
