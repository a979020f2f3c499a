//! For graphviz: the host, its bridges and ends, the containers, ports as arrows.

use std::fmt::Write;

use super::{Attachment, Container, View};

pub(super) fn dot(view: &View) -> String {
    let mut text = String::from(
        "digraph networks {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n  \
         edge [fontname=monospace];\n  outside [label=\"\", shape=point];\n",
    );
    text.push_str("  subgraph cluster_host {\n    label=\"host\";\n");
    for bridge in &view.bridges {
        let mut label = vec![bridge.link.name.clone()];
        label.extend(bridge.link.addresses.clone());
        node(&mut text, "    ", &bridge_name(&bridge.link.name), &label);
    }
    let all = || {
        view.containers
            .iter()
            .flat_map(|one| one.attachments.iter().map(move |each| (one, each)))
    };
    for (container, attachment) in all() {
        if let Some(outside) = &attachment.outside {
            let label = [outside.name.clone(), outside.kind.clone()];
            node(&mut text, "    ", &end_name(container, attachment), &label);
        }
    }
    text.push_str("  }\n");
    for (number, container) in view.containers.iter().enumerate() {
        print_container(&mut text, number, container);
    }
    for (container, attachment) in all() {
        edges(&mut text, container, attachment);
    }
    text.push_str("}\n");
    text
}

fn print_container(text: &mut String, number: usize, container: &Container) {
    let title = quoted(&container.title());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label={title};");
    for attachment in &container.attachments {
        let mut label = vec![format!("{} on {}", attachment.ifname, attachment.network)];
        label.extend(attachment.expected.clone());
        label.extend(attachment.differences.clone());
        node(text, "    ", &inside_name(container, attachment), &label);
    }
    text.push_str("  }\n");
}

fn edges(text: &mut String, container: &Container, attachment: &Attachment) {
    let inside = inside_name(container, attachment);
    let mut edge = |from: &str, to: &str, more: &str| {
        let _ = writeln!(text, "  {} -> {} [{more}];", quoted(from), quoted(to));
    };
    if attachment.outside.is_some() {
        let end = end_name(container, attachment);
        edge(&end, &inside, "dir=none");
        if let Some(bridge) = &attachment.bridge {
            edge(&bridge_name(bridge), &end, "dir=none");
        }
    }
    for port in &attachment.ports {
        let mut label = format!("{} to {}", port.published(), port.container_port);
        let mut style = "solid";
        if !port.is_in_force {
            label += " (no rule)";
            style = "dashed";
        }
        edge(
            "outside",
            &inside,
            &format!("label={}, style={style}", quoted(&label)),
        );
    }
}

fn node(text: &mut String, indent: &str, name: &str, label: &[String]) {
    let label = quoted(&label.join("\n"));
    let _ = writeln!(text, "{indent}{} [label={label}];", quoted(name));
}

fn bridge_name(name: &str) -> String {
    format!("bridge {name}")
}

fn end_name(container: &Container, attachment: &Attachment) -> String {
    format!(
        "end {} {} {}",
        container.id, attachment.network, attachment.ifname
    )
}

fn inside_name(container: &Container, attachment: &Attachment) -> String {
    format!(
        "inside {} {} {}",
        container.id, attachment.network, attachment.ifname
    )
}

/// A string of the language: a quote and a backslash are escaped, a line ends with `\n`.
fn quoted(text: &str) -> String {
    let mut safe = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            c if c.is_control() => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::sample;

    #[test]
    fn the_whole_of_it() {
        let expected = r#"digraph networks {
  rankdir=LR;
  node [shape=box, fontname=monospace];
  edge [fontname=monospace];
  outside [label="", shape=point];
  subgraph cluster_host {
    label="host";
    "bridge cni0" [label="cni0\n10.4.0.1/24"];
    "end web net0 eth0" [label="veth00000000\nveth"];
  }
  subgraph cluster_0 {
    label="web";
    "inside web net0 eth0" [label="eth0 on net0\n10.4.0.5/24"];
  }
  "end web net0 eth0" -> "inside web net0 eth0" [dir=none];
  "bridge cni0" -> "end web net0 eth0" [dir=none];
  "outside" -> "inside web net0 eth0" [label="*:8080/tcp to 80", style=solid];
}
"#;
        assert_eq!(dot(&sample::view(1, 1)), expected);
    }

    #[test]
    fn a_text_stays_a_text() {
        assert_eq!(quoted("a\"]; x\\\n\u{7}"), "\"a\\\"]; x\\\\\\n?\"");
    }
}
