//! Steps as a drawing: time from left to right, a block of rows for each process, what a step is
//! made of below it.

use std::fmt::Write;

use super::{Lane, Span};

/// What waits for somebody else's program is shown in this part of the width at most.
const PROGRAM: f64 = 0.05;
/// The name of the step that is so cut short.
pub const PROGRAM_RUNS: &str = "the program runs";

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 60.0;
const ROW: f64 = 20.0;
const GAP: f64 = 14.0;
const AXIS: f64 = 44.0;
/// Of a letter, about.
const LETTER: f64 = 6.1;

const STYLE: &str = "text{font:11px sans-serif;fill:#222}.axis{fill:#666}line{stroke:#ddd}\
rect{stroke:#fff;stroke-width:.6}.d0{fill:#9db8dc}.d1{fill:#bcd5b0}.d2{fill:#ead9a4}.d3{fill:#e3bdb4}\
.background{fill:#fff;stroke:none}";

/// The drawing of `spans`, which come by lane and begin.
pub(super) fn drawn(spans: &[Span]) -> String {
    let scale = Scale::of(spans);
    let (mut body, mut top) = (String::new(), AXIS);
    for lane in Lane::ALL {
        let own: Vec<&Span> = spans.iter().filter(|span| span.lane == lane).collect();
        if own.is_empty() {
            continue;
        }
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            body,
            "<text x=\"4\" y=\"{:.1}\">{}</text>",
            top + ROW * 0.7,
            lane.name()
        );
        let mut deepest = 0;
        for (span, depth) in nested(&own) {
            deepest = deepest.max(depth);
            body += &bar(span, depth, top + depth as f64 * ROW, &scale);
        }
        top += (deepest + 1) as f64 * ROW + GAP;
    }
    let total: u64 = spans.iter().map(|span| span.end).max().unwrap_or(0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"100%\">\n\
         <style>{STYLE}</style>\n<rect class=\"background\" width=\"{WIDTH}\" height=\"{top}\"/>\n\
         <text x=\"{MARGIN}\" y=\"14\">{} in all{}</text>\n{}{body}</svg>\n",
        spoken(total),
        match scale.cut {
            Some((from, to)) =>
                format!("; the program's own {} are drawn short", spoken(to - from)),
            None => String::new(),
        },
        axis(&scale, total, top),
    )
}

/// Each step with the number of steps around it.
fn nested<'a>(own: &[&'a Span]) -> Vec<(&'a Span, usize)> {
    let mut around: Vec<u64> = Vec::new();
    let place = |span: &&'a Span| {
        while around.last().is_some_and(|end| *end <= span.begin) {
            around.pop();
        }
        let depth = around.len();
        around.push(span.end);
        (*span, depth)
    };
    own.iter().map(place).collect()
}

fn bar(span: &Span, depth: usize, top: f64, scale: &Scale) -> String {
    let (left, right) = (scale.at(span.begin), scale.at(span.end));
    let width = (right - left).max(0.4);
    let told = format!("{} {}", span.name, spoken(span.length()));
    let mut text = format!(
        "<rect class=\"d{}\" x=\"{left:.2}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{:.1}\">\
         <title>{}</title></rect>\n",
        depth.min(3),
        ROW - 1.0,
        escaped(&told)
    );
    let fitting = [told.as_str(), &span.name];
    let fits = |label: &&&str| label.chars().count() as f64 * LETTER + 6.0 < width;
    if let Some(label) = fitting.iter().find(fits) {
        let _ = writeln!(
            text,
            "<text x=\"{:.2}\" y=\"{:.1}\" pointer-events=\"none\">{}</text>",
            left + 3.0,
            top + ROW * 0.68,
            escaped(label)
        );
    }
    text
}

fn axis(scale: &Scale, total: u64, bottom: f64) -> String {
    let mut text = String::new();
    let length = scale.length.max(1.0);
    // 1, 2 or 5 times a power of ten nanoseconds, some ten of them.
    let rough = length / 10.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough);
    let step = (step.unwrap_or(length) as usize).max(1);
    let (from, to) = scale.cut.unwrap_or((total, total + 1));
    let before = (0..=from).step_by(step);
    for time in before.chain((to..=total).step_by(step)) {
        let x = scale.at(time);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"34\" y2=\"{bottom:.1}\"/>\
             <text class=\"axis\" x=\"{x:.1}\" y=\"30\" text-anchor=\"middle\">{}</text>",
            spoken(time)
        );
    }
    text
}

/// From time to place.
struct Scale {
    /// When the program ran, if that is cut short.
    cut: Option<(u64, u64)>,
    /// What is shown, in nanoseconds, the cut as long as it is drawn.
    length: f64,
    /// How long the cut is drawn.
    short: f64,
}

impl Scale {
    fn of(spans: &[Span]) -> Self {
        let total = spans.iter().map(|span| span.end).max().unwrap_or(0);
        let cut = spans.iter().find(|span| span.name == PROGRAM_RUNS);
        let cut = cut.map(|span| (span.begin, span.end));
        let rest = total - cut.map_or(0, |(from, to)| to - from);
        let short = rest as f64 * PROGRAM;
        match cut {
            Some((from, to)) if (to - from) as f64 > short => Self {
                cut,
                length: rest as f64 + short,
                short,
            },
            _ => Self {
                cut: None,
                length: total as f64,
                short,
            },
        }
    }

    fn at(&self, time: u64) -> f64 {
        let shown = match self.cut {
            Some((from, to)) if time >= to => (time - to + from) as f64 + self.short,
            Some((from, to)) if time > from => {
                from as f64 + self.short * (time - from) as f64 / (to - from) as f64
            }
            _ => time as f64,
        };
        MARGIN + (WIDTH - MARGIN - 20.0) * shown / self.length.max(1.0)
    }
}

/// A time as people say it.
fn spoken(nanos: u64) -> String {
    match nanos {
        0 => "0".into(),
        1..10_000 => format!("{:.1} \u{b5}s", nanos as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} \u{b5}s", nanos as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.2} ms", nanos as f64 / 1e6),
        _ => format!("{:.1} s", nanos as f64 / 1e9),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, begin: u64, end: u64) -> Span {
        let (lane, name) = (Lane::Runtime, name.into());
        Span {
            lane,
            name,
            begin,
            end,
        }
    }

    #[test]
    fn what_is_within_a_step_is_below_it() {
        let spans = [
            span("all", 0, 100),
            span("first", 0, 40),
            span("part", 10, 20),
            span("second", 40, 100),
        ];
        let own: Vec<&Span> = spans.iter().collect();
        let depths: Vec<usize> = nested(&own).iter().map(|(_, depth)| *depth).collect();
        assert_eq!(depths, [0, 1, 2, 1]);
    }

    #[test]
    fn an_hour_of_the_program_is_a_twentieth_of_the_drawing() {
        let hour = 3_600_000_000_000;
        let spans = [
            span("before", 0, 1000),
            span(PROGRAM_RUNS, 1000, 1000 + hour),
            span("after", 1000 + hour, 2000 + hour),
        ];
        let scale = Scale::of(&spans);
        let (before, program) = (
            scale.at(1000) - scale.at(0),
            scale.at(1000 + hour) - scale.at(1000),
        );
        assert!((program / before - 0.1).abs() < 0.001, "{program} {before}");
        assert!(scale.at(2000 + hour) <= WIDTH);
        let text = drawn(&spans);
        assert!(
            text.contains("the program's own 3600.0 s are drawn short"),
            "{text}"
        );
        assert!(text.len() < 20_000);
    }

    #[test]
    fn a_name_of_an_image_is_no_markup() {
        let text = drawn(&[span("mount /<script>\"", 0, 10)]);
        assert!(
            text.contains("mount /&lt;script>&quot;") && !text.contains("<script"),
            "{text}"
        );
    }
}
