//! For programs. The keys are stable: they are added to, never changed.
//!
//! ```text
//! {containers: [{id, name, hostname, attachments: [{
//!      network, ifName, netns, status, aliases, expectedAddresses,
//!      inside, outside: {name, kind, mac, mtu, state, addresses, routes, alias} or null,
//!      bridge: name or null, ports: [{hostIp, hostPort, containerPort, protocol, inForce}],
//!      masquerade, rules: [{place, text}], reservations: [path], differences: [text]}]}],
//!  bridges: [{name, kind, mac, ..., ports: [{name, containerId}]}], remarks: [text]}
//! ```

use serde_json::{Value, json};

use super::{Attachment, Bridge, Container, Interface, View};

pub(super) fn print(view: &View) -> Value {
    let bridge = |each: &Bridge| {
        let mut json = interface(&each.link);
        let port = |(name, id): &(String, String)| json!({"name": name, "containerId": id});
        json["ports"] = each.ports.iter().map(port).collect();
        json
    };
    json!({
        "containers": view.containers.iter().map(container).collect::<Value>(),
        "bridges": view.bridges.iter().map(bridge).collect::<Value>(),
        "remarks": view.remarks,
    })
}

fn container(container: &Container) -> Value {
    json!({
        "id": container.id,
        "name": container.name,
        "hostname": container.hostname,
        "attachments": container.attachments.iter().map(attachment).collect::<Value>(),
    })
}

fn attachment(attachment: &Attachment) -> Value {
    let port = |port: &super::Port| {
        json!({
            "hostIp": port.host_ip,
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol,
            "inForce": port.is_in_force,
        })
    };
    let rule = |rule: &super::Rule| json!({"place": rule.place, "text": rule.text});
    json!({
        "network": attachment.network,
        "ifName": attachment.ifname,
        "netns": attachment.netns,
        "status": attachment.status,
        "aliases": attachment.aliases,
        "expectedAddresses": attachment.expected,
        "inside": attachment.inside.as_ref().map(interface),
        "outside": attachment.outside.as_ref().map(interface),
        "bridge": attachment.bridge,
        "ports": attachment.ports.iter().map(port).collect::<Value>(),
        "masquerade": attachment.masquerade,
        "rules": attachment.rules.iter().map(rule).collect::<Value>(),
        "reservations": attachment.reservations,
        "differences": attachment.differences,
    })
}

fn interface(link: &Interface) -> Value {
    json!({
        "name": link.name,
        "kind": link.kind,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
        "addresses": link.addresses,
        "routes": link.routes,
        "alias": link.alias,
    })
}
