//! A container for the printers' tests.

use super::{Attachment, Bridge, Container, Interface, Port, Rule, View};

fn link(name: String, kind: &str, mac: String, addresses: Vec<String>) -> Interface {
    Interface {
        name,
        kind: kind.into(),
        mac,
        mtu: 1500,
        state: "up".into(),
        addresses,
        ..Interface::default()
    }
}

/// `web` on so many networks, with so many ports on the first.
pub(crate) fn view(networks: u8, ports: u16) -> View {
    let mut view = View::default();
    let mut web = Container {
        id: "web".into(),
        hostname: "web.local".into(),
        ..Container::default()
    };
    for n in 0..networks {
        let address = format!("10.4.{n}.5/24");
        let bridge = format!("cni{n}");
        let mac = |side: u8| format!("02:00:00:00:0{side}:{n:02x}");
        let mut inside = link(format!("eth{n}"), "veth", mac(0), vec![address.clone()]);
        inside.routes.push(format!("0.0.0.0/0 via 10.4.{n}.1"));
        let end = format!("veth{n:08x}");
        let count = if n == 0 { ports } else { 0 };
        let port = |p: u16| Port {
            host_port: 8080 + p,
            container_port: 80 + p,
            protocol: "tcp".into(),
            is_in_force: true,
            ..Port::default()
        };
        let rule = Rule {
            place: "ip cni_hostport hostports".into(),
            text: "tcp dport 8080 dnat to 10.4.0.5:80".into(),
        };
        web.attachments.push(Attachment {
            network: format!("net{n}"),
            ifname: format!("eth{n}"),
            netns: "/proc/7/ns/net".into(),
            status: "alive".into(),
            expected: vec![address],
            inside: Some(inside),
            outside: Some(link(end.clone(), "veth", mac(1), Vec::new())),
            bridge: Some(bridge.clone()),
            ports: (0..count).map(port).collect(),
            masquerade: true,
            rules: vec![rule],
            reservations: vec![format!("/var/lib/cni/networks/net{n}/10.4.{n}.5")],
            ..Attachment::default()
        });
        let own = link(bridge, "bridge", mac(2), vec![format!("10.4.{n}.1/24")]);
        let ports = vec![(end, "web".into()), ("tap0".into(), String::new())];
        view.bridges.push(Bridge { link: own, ports });
    }
    view.containers.push(web);
    view
}
