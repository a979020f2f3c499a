//! A drawing of its own, without a library: published ports, bridges, the host's ends, containers,
//! from left to right.
//!
//! [`layout`] places boxes in columns, each below the one before, so that none can cover another;
//! lines between the columns may cross. Text is in a fixed-width font, whose width can be known
//! here. Colours follow the reader's light or dark scheme, on a background that is drawn too.

use super::{Attachment, Bridge, Container, View};

const CHAR: f64 = 8.0; // of 13 px monospace, with a little room
const LINE: f64 = 18.0;
const PAD: f64 = 10.0;
const GAP: f64 = 14.0;
/// Between columns: wires turn there.
const GUTTER: f64 = 70.0;
/// Before the first column: arrows come from there.
const ENTRY: f64 = 60.0;
const TITLE: f64 = 26.0;
/// Longer texts are cut; the whole is in the tooltip.
const LONGEST: usize = 44;

const STYLE: &str = "\
text{font:13px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1b2330}\
.ground{fill:#fff}.frame{fill:none;stroke:#8a94a6;stroke-dasharray:6 4}\
.link{fill:#eaf0fa;stroke:#44608f}.bridge{fill:#fff3d6;stroke:#96700f}\
.port{fill:#e2f4e4;stroke:#2c7a39}.trouble{fill:#fde5e2;stroke:#b3261e}\
.wire{fill:none;stroke:#44608f;stroke-width:1.5}.flow{fill:none;stroke:#2c7a39;stroke-width:1.5}\
.head{fill:#2c7a39}text.strong{font-weight:bold}text.dim{fill:#566072}text.alarm{fill:#a31d16}\
@media (prefers-color-scheme:dark){text{fill:#e6eaf2}.ground{fill:#151a22}.frame{stroke:#6c788d}\
.link{fill:#22304a;stroke:#8aa9dd}.bridge{fill:#3c3212;stroke:#d8b24a}\
.port{fill:#183420;stroke:#6cc47c}.trouble{fill:#44201d;stroke:#f2857c}\
.wire{stroke:#8aa9dd}.flow{stroke:#6cc47c}.head{fill:#6cc47c}\
text.dim{fill:#a3adbd}text.alarm{fill:#ff9d94}}";

/// A box with lines of text.
#[derive(Clone, Debug, PartialEq)]
struct Box {
    class: &'static str,
    x: f64,
    y: f64,
    width: f64,
    lines: Vec<(&'static str, String)>,
}

/// Around others, with a title.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
}

/// From one box to another; ports are arrows.
#[derive(Clone, Debug, PartialEq)]
struct Wire {
    class: &'static str,
    from: (f64, f64),
    to: (f64, f64),
    has_head: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Scene {
    boxes: Vec<Box>,
    frames: Vec<Frame>,
    wires: Vec<Wire>,
    width: f64,
    height: f64,
}

impl Box {
    fn new(class: &'static str, lines: Vec<(&'static str, String)>) -> Self {
        let longest = lines
            .iter()
            .map(|(_, text)| columns(text))
            .max()
            .unwrap_or(0);
        let width = length(longest) * CHAR + 2.0 * PAD;
        Self {
            class,
            x: 0.0,
            y: 0.0,
            width,
            lines,
        }
    }

    fn height(&self) -> f64 {
        length(self.lines.len()) * LINE + PAD
    }

    fn middle(&self) -> f64 {
        self.y + self.height() / 2.0
    }

    fn left(&self) -> (f64, f64) {
        (self.x, self.middle())
    }

    fn right(&self) -> (f64, f64) {
        (self.x + self.width, self.middle())
    }
}

/// Numbers of characters are small.
fn length(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Others than ASCII may be twice as wide.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

fn cut(text: &str) -> String {
    match text.chars().count() {
        short if short <= LONGEST => text.to_owned(),
        _ => text.chars().take(LONGEST - 3).collect::<String>() + "...",
    }
}

/// One attachment's boxes.
struct Row<'a> {
    attachment: &'a Attachment,
    inside: Box,
    outside: Option<Box>,
    ports: Vec<Box>,
}

/// The drawing.
pub(super) fn draw(view: &View) -> String {
    print(&layout(view))
}

fn layout(view: &View) -> Scene {
    let mut groups: Vec<(&Container, Vec<Row<'_>>)> = Vec::new();
    for container in &view.containers {
        groups.push((container, container.attachments.iter().map(row).collect()));
    }
    let mut bridges: Vec<(&Bridge, Box)> = view
        .bridges
        .iter()
        .map(|bridge| (bridge, bridge_box(bridge, view)))
        .collect();
    place_columns(&mut groups, &mut bridges);
    place_rows(&mut groups);
    place_bridges(&groups, &mut bridges);
    place_ports(&mut groups);
    finish(groups, bridges)
}

fn row(attachment: &Attachment) -> Row<'_> {
    let outside = attachment.outside.as_ref().map(|link| {
        let kind = if link.kind.is_empty() {
            "device"
        } else {
            &link.kind
        };
        let lines = vec![
            ("strong", cut(&link.name)),
            ("dim", format!("{kind}, {}", link.state)),
        ];
        Box::new("link", lines)
    });
    let target = attachment
        .expected
        .first()
        .map(|net| net.split('/').next().unwrap_or_default());
    let ports = attachment.ports.iter().map(|port| {
        let to = format!("to {}:{}", target.unwrap_or("?"), port.container_port);
        let (class, note) = match port.is_in_force {
            true => ("port", None),
            false => ("trouble", Some(("alarm", "no rule for it".to_owned()))),
        };
        let mut lines = vec![("strong", port.published()), ("dim", to)];
        lines.extend(note);
        Box::new(class, lines)
    });
    let ports = ports.collect();
    Row {
        attachment,
        inside: inside_box(attachment),
        outside,
        ports,
    }
}

fn inside_box(attachment: &Attachment) -> Box {
    let mut lines = vec![(
        "strong",
        cut(&format!("{} on {}", attachment.ifname, attachment.network)),
    )];
    match &attachment.inside {
        Some(inside) => {
            let addresses = inside
                .addresses
                .iter()
                .filter(|one| !one.starts_with("fe80:"));
            lines.extend(addresses.map(|address| ("", cut(address))));
            lines.push(("dim", format!("{} mtu {}", inside.mac, inside.mtu)));
        }
        None => lines.extend(attachment.expected.iter().map(|one| ("dim", cut(one)))),
    }
    if !attachment.aliases.is_empty() {
        lines.push((
            "dim",
            cut(&format!("also {}", attachment.aliases.join(", "))),
        ));
    }
    if attachment.status != "alive" {
        lines.push(("alarm", cut(&attachment.status)));
    }
    lines.extend(
        attachment
            .differences
            .iter()
            .map(|what| ("alarm", cut(what))),
    );
    let is_well = attachment.differences.is_empty() && attachment.status == "alive";
    Box::new(if is_well { "link" } else { "trouble" }, lines)
}

fn bridge_box(bridge: &Bridge, view: &View) -> Box {
    let mut lines = vec![("strong", cut(&bridge.link.name))];
    let addresses = bridge
        .link
        .addresses
        .iter()
        .filter(|one| !one.starts_with("fe80:"));
    lines.extend(addresses.map(|address| ("", cut(address))));
    let attachments = || view.containers.iter().flat_map(|one| &one.attachments);
    let on = |one: &&Attachment| one.bridge.as_ref() == Some(&bridge.link.name);
    if attachments().filter(on).any(|one| one.masquerade) {
        lines.push(("dim", "masquerades".into()));
    }
    let is_drawn = |name: &str| {
        attachments().any(|one| one.outside.as_ref().is_some_and(|link| link.name == name))
    };
    let others = bridge
        .ports
        .iter()
        .filter(|(name, _)| !is_drawn(name))
        .count();
    match others {
        0 => {}
        1 => lines.push(("dim", "and 1 other port".into())),
        _ => lines.push(("dim", format!("and {others} other ports"))),
    }
    Box::new("bridge", lines)
}

/// Every column as wide as its widest box; one that is empty takes no room.
fn place_columns(groups: &mut [(&Container, Vec<Row<'_>>)], bridges: &mut [(&Bridge, Box)]) {
    let widest = |boxes: &mut dyn Iterator<Item = f64>| boxes.fold(0.0, f64::max);
    let rows = || groups.iter().flat_map(|(_, rows)| rows);
    let ports = widest(&mut rows().flat_map(|row| &row.ports).map(|one| one.width));
    let spans = widest(&mut bridges.iter().map(|(_, one)| one.width));
    let ends = widest(
        &mut rows()
            .filter_map(|row| row.outside.as_ref())
            .map(|one| one.width),
    );
    let next = |x: f64, width: f64| if width > 0.0 { x + width + GUTTER } else { x };
    let first = ENTRY + GAP;
    let second = next(first, ports);
    let third = next(second, spans);
    let fourth = next(third, ends) + GAP;
    for row in groups.iter_mut().flat_map(|(_, rows)| rows) {
        row.inside.x = fourth;
        row.ports.iter_mut().for_each(|one| one.x = first);
        row.outside.iter_mut().for_each(|one| one.x = third);
    }
    bridges.iter_mut().for_each(|(_, one)| one.x = second);
}

/// Containers below each other, and in them their interfaces, with the host's ends beside them.
fn place_rows(groups: &mut [(&Container, Vec<Row<'_>>)]) {
    let mut y = GAP + TITLE;
    for (_, rows) in groups {
        y += TITLE;
        for row in rows {
            let tall = |one: &Box| one.height();
            let height = row
                .outside
                .as_ref()
                .map_or(0.0, tall)
                .max(row.inside.height());
            row.inside.y = y + (height - row.inside.height()) / 2.0;
            if let Some(end) = &mut row.outside {
                end.y = y + (height - end.height()) / 2.0;
            }
            y += height + GAP;
        }
        y += GAP;
    }
}

/// Each in the middle of what is plugged into it, if the one above leaves room.
fn place_bridges(groups: &[(&Container, Vec<Row<'_>>)], bridges: &mut [(&Bridge, Box)]) {
    for (bridge, own) in bridges.iter_mut() {
        let rows = groups.iter().flat_map(|(_, rows)| rows);
        let plugged = rows.filter(|row| row.attachment.bridge.as_ref() == Some(&bridge.link.name));
        let middles: Vec<f64> = plugged.map(|row| row.inside.middle()).collect();
        let middle = middles.iter().sum::<f64>() / length(middles.len()).max(1.0);
        own.y = middle - own.height() / 2.0;
    }
    bridges.sort_by(|(_, a), (_, b)| a.y.total_cmp(&b.y));
    stack(bridges.iter_mut().map(|(_, own)| own));
}

fn place_ports(groups: &mut [(&Container, Vec<Row<'_>>)]) {
    for row in groups.iter_mut().flat_map(|(_, rows)| rows) {
        let all: f64 = row.ports.iter().map(|one| one.height() + GAP).sum();
        let mut y = row.inside.middle() - all / 2.0;
        for port in &mut row.ports {
            port.y = y;
            y += port.height() + GAP;
        }
    }
    stack(
        groups
            .iter_mut()
            .flat_map(|(_, rows)| rows)
            .flat_map(|row| &mut row.ports),
    );
}

/// Moves each down until the one before does not cover it.
fn stack<'a>(boxes: impl Iterator<Item = &'a mut Box>) {
    let mut free = GAP + TITLE + GAP;
    for own in boxes {
        own.y = own.y.max(free);
        free = own.y + own.height() + GAP;
    }
}

fn finish(groups: Vec<(&Container, Vec<Row<'_>>)>, bridges: Vec<(&Bridge, Box)>) -> Scene {
    let mut scene = Scene::default();
    for (container, rows) in groups {
        scene.frames.extend(container_frame(container, &rows));
        for row in rows {
            wire(&row, &bridges, &mut scene.wires);
            scene.boxes.extend(row.ports);
            scene.boxes.extend(row.outside);
            scene.boxes.push(row.inside);
        }
    }
    scene.boxes.extend(bridges.into_iter().map(|(_, own)| own));
    let right = scene
        .frames
        .iter()
        .map(|frame| frame.x + frame.width)
        .fold(0.0, f64::max);
    let bottom = scene
        .boxes
        .iter()
        .map(|own| own.y + own.height())
        .fold(TITLE, f64::max);
    let inner = scene
        .frames
        .iter()
        .map(|frame| frame.x)
        .fold(f64::MAX, f64::min)
        .min(right);
    scene.frames.push(Frame {
        x: ENTRY,
        y: GAP,
        width: (inner - GUTTER / 2.0 - ENTRY).max(6.0 * CHAR),
        height: bottom + GAP - GAP,
        title: "host".into(),
    });
    scene.width = right.max(ENTRY + 12.0 * CHAR) + GAP;
    scene.height = bottom + 2.0 * GAP + GAP;
    scene
}

fn container_frame(container: &Container, rows: &[Row<'_>]) -> Option<Frame> {
    let (first, last) = (&rows.first()?.inside, &rows.last()?.inside);
    let title = cut(&container.title());
    let widest = rows.iter().map(|row| row.inside.width).fold(0.0, f64::max);
    let top = first.y - TITLE;
    Some(Frame {
        x: first.x - GAP,
        y: top,
        width: widest.max(length(columns(&title)) * CHAR) + 2.0 * GAP,
        height: last.y + last.height() + GAP / 2.0 - top,
        title,
    })
}

fn wire(row: &Row<'_>, bridges: &[(&Bridge, Box)], wires: &mut Vec<Wire>) {
    let name = row.attachment.bridge.as_ref();
    let bridge = bridges
        .iter()
        .find(|(bridge, _)| Some(&bridge.link.name) == name);
    let bridge = bridge.map(|(_, own)| own);
    let line = |class, from, to, has_head| Wire {
        class,
        from,
        to,
        has_head,
    };
    if let Some(end) = &row.outside {
        wires.push(line("wire", end.right(), row.inside.left(), false));
        wires.extend(bridge.map(|bridge| line("wire", bridge.right(), end.left(), false)));
    }
    let target = bridge.or(row.outside.as_ref()).unwrap_or(&row.inside);
    for port in &row.ports {
        wires.push(line("flow", (GAP, port.middle()), port.left(), true));
        if port.class == "port" {
            wires.push(line("flow", port.right(), target.left(), true));
        }
    }
}

fn print(scene: &Scene) -> String {
    let Scene { width, height, .. } = scene;
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
        ),
        "<title>networks of containers</title>".into(),
        format!("<style>{STYLE}</style>"),
        format!("<rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>"),
    ];
    lines.extend(scene.frames.iter().map(print_frame));
    lines.extend(scene.wires.iter().map(print_wire));
    lines.extend(scene.boxes.iter().map(print_box));
    lines.push("</svg>\n".into());
    lines.join("\n")
}

fn print_frame(frame: &Frame) -> String {
    let Frame {
        x,
        y,
        width,
        height,
        title,
    } = frame;
    let (left, base) = (x + PAD, y + LINE);
    format!(
        "<rect class=\"frame\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\"/>\
         <text class=\"strong\" x=\"{left:.0}\" y=\"{base:.0}\">{}</text>",
        escaped(title)
    )
}

fn print_wire(wire: &Wire) -> String {
    let Wire {
        class,
        from: (x1, y1),
        to: (x2, y2),
        has_head,
    } = wire;
    let head = if *has_head {
        let back = x2 - 8.0;
        let (up, down) = (y2 - 4.0, y2 + 4.0);
        format!(
            "<path class=\"head\" d=\"M{x2:.0} {y2:.0} L{back:.0} {up:.0} L{back:.0} {down:.0} Z\"/>"
        )
    } else {
        String::new()
    };
    let middle = f64::midpoint(*x1, *x2);
    format!(
        "<path class=\"{class}\" d=\"M{x1:.0} {y1:.0} C{middle:.0} {y1:.0} {middle:.0} {y2:.0} {x2:.0} {y2:.0}\"/>{head}"
    )
}

fn print_box(own: &Box) -> String {
    let Box {
        class,
        x,
        y,
        width,
        lines,
    } = own;
    let height = own.height();
    let whole: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    let mut text = format!(
        "<g><title>{}</title><rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"4\"/>",
        escaped(&whole.join("; "))
    );
    for (number, (class, line)) in lines.iter().enumerate() {
        let (left, base) = (x + PAD, y + LINE * length(number + 1));
        let class = if class.is_empty() {
            String::new()
        } else {
            format!(" class=\"{class}\"")
        };
        text += &format!(
            "<text{class} x=\"{left:.0}\" y=\"{base:.0}\">{}</text>",
            escaped(line)
        );
    }
    text + "</g>"
}

/// For text and attributes; what XML 1.0 cannot have at all becomes a question mark.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            c if c.is_control() => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::sample;

    fn overlap(a: &Box, b: &Box) -> bool {
        a.x < b.x + b.width
            && b.x < a.x + a.width
            && a.y < b.y + b.height()
            && b.y < a.y + a.height()
    }

    #[test]
    fn no_box_covers_another_and_every_text_fits() {
        for (networks, ports) in [(1, 0), (1, 3), (2, 1), (2, 4), (5, 3), (5, 9)] {
            let scene = layout(&sample::view(networks, ports));
            for (at, a) in scene.boxes.iter().enumerate() {
                for b in &scene.boxes[at + 1..] {
                    assert!(!overlap(a, b), "{networks} {ports}: {a:?} {b:?}");
                }
                for (_, line) in &a.lines {
                    assert!(length(columns(line)) * CHAR <= a.width, "{line}");
                }
                assert!(a.x >= 0.0 && a.x + a.width < scene.width, "{a:?}");
                assert!(a.y >= 0.0 && a.y + a.height() < scene.height, "{a:?}");
            }
            for frame in &scene.frames {
                let title = frame.x + PAD + length(columns(&frame.title)) * CHAR;
                assert!(title <= frame.x + frame.width, "{frame:?}");
            }
        }
    }

    #[test]
    fn whatever_a_text_holds_the_file_is_xml() {
        let mut view = sample::view(1, 1);
        view.containers[0].name = "<b>&\"'\u{1}]]>\u{ffff}".into();
        view.containers[0].attachments[0].network = "a<script>alert(1)</script>".into();
        let svg = draw(&view);
        assert!(!svg.contains("<script>") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("&lt;script&gt;"), "{svg}");
        assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
        // Every element that is opened is closed, in order.
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap();
            let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name), "{svg}"),
                (false, false) => open.push(name),
                (false, true) => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
        for ampersand in svg.split('&').skip(1) {
            let known = ["lt;", "gt;", "amp;", "quot;"];
            assert!(known.iter().any(|entity| ampersand.starts_with(entity)));
        }
    }

    #[test]
    fn nothing_to_draw_is_an_empty_host() {
        let svg = draw(&View::default());
        assert!(svg.contains(">host</text>"), "{svg}");
    }

    #[test]
    fn a_port_without_a_rule_leads_nowhere() {
        let mut view = sample::view(1, 1);
        let whole = layout(&view).wires.len();
        view.containers[0].attachments[0].ports[0].is_in_force = false;
        let scene = layout(&view);
        assert_eq!(scene.wires.len(), whole - 1);
        assert!(print(&scene).contains("no rule for it"));
    }
}
