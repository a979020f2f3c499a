//! For people: a block for each attachment, and one for each bridge.

use std::fmt::Write;

use super::{Attachment, Bridge, Container, Interface, View};

pub(super) fn print(view: &View) -> String {
    let mut text = String::new();
    for container in &view.containers {
        print_container(container, &mut text);
    }
    for bridge in &view.bridges {
        print_bridge(bridge, &mut text);
    }
    for remark in &view.remarks {
        line(&mut text, "", "not seen", remark);
    }
    if text.is_empty() {
        text.push_str("nothing is attached\n");
    }
    text
}

fn print_container(container: &Container, text: &mut String) {
    let _ = writeln!(text, "container {}", container.id); // writing to a String cannot fail
    line(text, "  ", "name", &container.name);
    line(text, "  ", "hostname", &container.hostname);
    for attachment in &container.attachments {
        print_attachment(attachment, text);
    }
    text.push('\n');
}

fn print_attachment(attachment: &Attachment, text: &mut String) {
    let Attachment {
        ifname,
        network,
        status,
        ..
    } = attachment;
    let _ = writeln!(text, "  {ifname} on network {network}: {status}");
    let mut say = |label: &str, value: &str| line(text, "    ", label, value);
    say("namespace", &attachment.netns);
    say("aliases", &attachment.aliases.join(", "));
    if attachment.inside.is_none() {
        say("address", &attachment.expected.join(", "));
    }
    if let Some(inside) = &attachment.inside {
        say("inside", &described(inside));
        say("address", &inside.addresses.join(", "));
        inside.routes.iter().for_each(|route| say("route", route));
    }
    if let Some(outside) = &attachment.outside {
        say("outside", &described(outside));
    }
    say("bridge", attachment.bridge.as_deref().unwrap_or_default());
    for port in &attachment.ports {
        let missing = if port.is_in_force { "" } else { "  (no rule)" };
        let mapping = format!("{} -> {}{missing}", port.published(), port.container_port);
        say("port", &mapping);
    }
    if attachment.masquerade {
        say("leaves", "with the host's address (masquerade)");
    }
    for rule in &attachment.rules {
        say("rule", &format!("{}: {}", rule.place, rule.text));
    }
    attachment
        .reservations
        .iter()
        .for_each(|file| say("reserved", file));
    attachment
        .differences
        .iter()
        .for_each(|what| say("DIFFERS", what));
}

fn print_bridge(bridge: &Bridge, text: &mut String) {
    let _ = writeln!(text, "bridge {}", described(&bridge.link));
    line(text, "  ", "address", &bridge.link.addresses.join(", "));
    for (name, container) in &bridge.ports {
        let whose = if container.is_empty() {
            "(not known)"
        } else {
            container
        };
        line(text, "  ", "port", &format!("{name}  {whose}"));
    }
}

fn described(link: &Interface) -> String {
    let kind = if link.kind.is_empty() {
        "device"
    } else {
        &link.kind
    };
    let Interface {
        name,
        mac,
        mtu,
        state,
        ..
    } = link;
    format!("{name} ({kind}, {mac}, mtu {mtu}, {state})")
}

/// Nothing for an empty value. What others wrote may hold anything, a terminal's orders too.
fn line(text: &mut String, indent: &str, label: &str, value: &str) {
    if !value.is_empty() {
        let clean: String = value
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let _ = writeln!(text, "{indent}{label:<10} {clean}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::sample;

    #[test]
    fn the_whole_of_it() {
        let mut view = sample::view(1, 2);
        let attachment = &mut view.containers[0].attachments[0];
        attachment.ports[1].is_in_force = false;
        attachment
            .differences
            .push("expected 10.4.0.6/24, not there".into());
        let expected = "\
container web
  hostname   web.local
  eth0 on network net0: alive
    namespace  /proc/7/ns/net
    inside     eth0 (veth, 02:00:00:00:00:00, mtu 1500, up)
    address    10.4.0.5/24
    route      0.0.0.0/0 via 10.4.0.1
    outside    veth00000000 (veth, 02:00:00:00:01:00, mtu 1500, up)
    bridge     cni0
    port       *:8080/tcp -> 80
    port       *:8081/tcp -> 81  (no rule)
    leaves     with the host's address (masquerade)
    rule       ip cni_hostport hostports: tcp dport 8080 dnat to 10.4.0.5:80
    reserved   /var/lib/cni/networks/net0/10.4.0.5
    DIFFERS    expected 10.4.0.6/24, not there

bridge cni0 (bridge, 02:00:00:00:02:00, mtu 1500, up)
  address    10.4.0.1/24
  port       veth00000000  web
  port       tap0  (not known)
";
        assert_eq!(print(&view), expected);
        assert_eq!(print(&View::default()), "nothing is attached\n");
    }

    #[test]
    fn what_others_wrote_gives_the_terminal_no_orders() {
        let mut text = String::new();
        line(&mut text, "", "alias", "a\u{1b}[2Jb");
        assert_eq!(text, "alias      a?[2Jb\n");
    }
}
