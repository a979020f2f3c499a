//! Series and targets as drawings: narrow enough for a telephone, in the reader's light or dark,
//! every value as text, every axis from zero.

use std::fmt::Write;

use crate::series::{Series, Unit};
use crate::statistics::{Ratio, median, percentile};
use crate::target::Target;

const WIDTH: f64 = 480.0;
const MARGIN: f64 = 12.0;
const LINE: f64 = 16.0;
const BAR: f64 = 12.0;
const STYLE: &str = "\
text{font:12px sans-serif;fill:#1f2328}.title{font-weight:bold;font-size:14px}\
.quiet{fill:#59636e;font-size:11px}.end{text-anchor:end}.middle{text-anchor:middle}\
.back{fill:#fff}.grid{stroke:#d1d9e0}.goal{stroke:#c0392b;stroke-dasharray:4 3}\
.spread{stroke:#1f2328;stroke-width:1.4}.davit{fill:#2f6fb4}.crun{fill:#d98032}\
.runc{fill:#5d9146}.floor{fill:#8b949e}.other{fill:#8d6bb0}.older{opacity:.45}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.back{fill:#0d1117}\
.grid{stroke:#30363d}.goal{stroke:#ff7b72}.spread{stroke:#e6edf3}.davit{fill:#58a6ff}\
.crun{fill:#e3954d}.runc{fill:#7cb662}.floor{fill:#8b949e}.other{fill:#b392d6}}";

/// The series of one case, one below the other.
pub fn of_case<'a>(series: impl Iterator<Item = &'a Series>, source: &str) -> String {
    let mut drawing = Drawing::default();
    for one in series {
        drawing.series(one);
    }
    drawing.finished(&format!(
        "Bar: median; line: from the least to the 90th percentile; {source}"
    ))
}

/// Each target with what each run has reached, the last run last: a part of what is wanted.
pub fn of_targets(targets: &[(Target, Vec<Option<Ratio>>)], source: &str) -> String {
    let mut drawing = Drawing::default();
    drawing.text(
        "title",
        MARGIN,
        "Ratios and what they shall be at most",
        1.4,
    );
    for (target, reached) in targets {
        drawing.target(target, reached);
    }
    drawing.finished(source)
}

#[derive(Default)]
struct Drawing {
    body: String,
    height: f64,
}

impl Drawing {
    /// A line of text, which makes the drawing higher by so many lines.
    fn text(&mut self, class: &str, x: f64, text: &str, lines: f64) {
        self.height += LINE * lines;
        self.label(class, x, self.height - 4.0, text);
    }

    fn label(&mut self, class: &str, x: f64, y: f64, text: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(text)
        );
    }

    fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    fn series(&mut self, series: &Series) {
        let unit = series.unit;
        let title = format!("{} ({})", series.title, unit.name());
        self.text("title", MARGIN, &title, 1.6);
        let most = series.subjects.iter();
        let most = most.map(|(_, values)| percentile(values, 90));
        let axis = Axis::up_to(most.fold(0.0, f64::max));
        // Below the bars, which are not drawn yet.
        let behind = self.body.len();
        let top = self.height;
        for (name, values) in &series.subjects {
            self.bar(name, values, unit, &axis);
        }
        let bars = self.body.split_off(behind);
        for tick in axis.ticks() {
            let x = axis.at(tick);
            self.line("grid", [x, top + 4.0, x, self.height + 4.0]);
            let class = match tick {
                0.0 => "quiet",
                _ if x > WIDTH - 40.0 => "quiet end",
                _ => "quiet middle",
            };
            let told = short(&unit.spoken(tick));
            self.label(class, x, self.height + LINE, &told);
        }
        self.body += &bars;
        self.height += LINE * 1.6;
    }

    fn bar(&mut self, name: &str, values: &[f64], unit: Unit, axis: &Axis) {
        let [least, middle, most] = [0, 50, 90].map(|percent| percentile(values, percent));
        let spoken = [least, most].map(|value| unit.spoken(value));
        self.text("", MARGIN, name, 1.1);
        let told = format!("{}  [{} to {}]", unit.spoken(middle), spoken[0], spoken[1]);
        self.label("end", WIDTH - MARGIN, self.height - 4.0, &told);
        let (y, width) = (self.height, axis.at(median(values)) - MARGIN);
        let _ = writeln!(
            self.body,
            "<rect class=\"{}\" x=\"{MARGIN}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>",
            whose(name),
            width.max(0.5)
        );
        let middle = y + BAR / 2.0;
        self.line("spread", [axis.at(least), middle, axis.at(most), middle]);
        self.height += BAR + 4.0;
    }

    fn target(&mut self, target: &Target, reached: &[Option<Ratio>]) {
        self.text(
            "",
            MARGIN,
            &format!("{} / {}", target.case, target.against),
            1.3,
        );
        let last = reached.iter().rev().flatten().next();
        let (told, verdict) = match last {
            None => ("not measured".to_owned(), ""),
            Some(ratio) if ratio.median <= target.at_most => (ratio.to_string(), ", pass"),
            Some(ratio) => (ratio.to_string(), ", miss"),
        };
        let told = format!("{told}, at most {}{verdict}", target.at_most);
        self.text("quiet", MARGIN, &told, 1.0);
        // Twice what is wanted is the whole width.
        let axis = Axis {
            end: 2.0 * target.at_most,
            step: target.at_most,
        };
        let (top, all) = (self.height, reached.len());
        self.height += BAR + 6.0 * all.saturating_sub(1) as f64;
        self.line("grid", [MARGIN, top, MARGIN, self.height]);
        let goal = axis.at(target.at_most);
        self.line("goal", [goal, top - 2.0, goal, self.height + 2.0]);
        for (number, ratio) in reached.iter().enumerate() {
            let Some(ratio) = ratio else { continue };
            let y = top + BAR / 2.0 + 6.0 * number as f64;
            let class = if number + 1 == all {
                "davit"
            } else {
                "davit older"
            };
            self.line("grid", [MARGIN, y, WIDTH - MARGIN, y]);
            self.line("spread", [axis.at(ratio.low), y, axis.at(ratio.high), y]);
            let x = axis.at(ratio.median);
            let _ = writeln!(
                self.body,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"
            );
            if ratio.median > axis.end {
                self.label("quiet end", WIDTH - MARGIN, y - 5.0, "beyond \u{2192}");
            }
        }
        self.height += 6.0;
    }

    fn finished(mut self, source: &str) -> String {
        self.height += LINE * 0.5;
        for line in wrapped(source, 76) {
            self.text("quiet", MARGIN, &line, 0.9);
        }
        let height = self.height + 8.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             width=\"{WIDTH}\">\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// From zero to some round number.
struct Axis {
    end: f64,
    step: f64,
}

impl Axis {
    /// With room for `most`.
    fn up_to(most: f64) -> Self {
        let rough = most.max(1e-3) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Self {
            end: step * (most / step).ceil().max(1.0),
            step,
        }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (end, step) = (self.end, self.step);
        let ticks = (0..=10).map(move |number| f64::from(number) * step);
        ticks.take_while(move |tick| *tick <= end * 1.001)
    }

    /// Where a value is; what is beyond is at the end, and what is below zero at zero.
    fn at(&self, value: f64) -> f64 {
        MARGIN + (WIDTH - 2.0 * MARGIN) * (value / self.end).clamp(0.0, 1.0)
    }
}

fn whose(name: &str) -> &'static str {
    let known = ["davit", "crun", "runc", "floor"];
    let known = known.into_iter().find(|known| name.starts_with(known));
    match known {
        Some(known) => known,
        // Ours without a name: a hundred at once, and one.
        None if name.ends_with("at once") || name == "one" => "davit",
        None if name.starts_with("reference") => "crun",
        None => "other",
    }
}

/// Without zeros that say nothing.
fn short(number: &str) -> String {
    match number.split_once('.') {
        Some((whole, rest)) if rest.trim_end_matches('0').is_empty() => whole.into(),
        Some(_) => number.trim_end_matches('0').into(),
        None => number.into(),
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last + word.chars().count() + 1 > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TARGETS;

    fn series(values: &[(&str, &[f64])]) -> Series {
        Series {
            case: "run".into(),
            title: "run <default>".into(),
            unit: Unit::Milliseconds,
            subjects: values
                .iter()
                .map(|(name, values)| ((*name).into(), values.to_vec()))
                .collect(),
        }
    }

    fn number(text: &str, before: &str) -> f64 {
        let rest = text.split(before).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    #[test]
    fn bars_begin_at_zero_and_are_as_long_as_their_medians() {
        let series = series(&[("davit", &[10.0]), ("crun", &[40.0])]);
        let text = of_case([&series].into_iter(), "one run");
        let of = |class: &str| {
            let rect = text
                .split(&format!("<rect class=\"{class}\""))
                .nth(1)
                .unwrap();
            assert!(rect.starts_with(&format!(" x=\"{MARGIN}\"")), "{rect}");
            number(rect, "width=\"")
        };
        assert!((of("crun") / of("davit") - 4.0).abs() < 0.01, "{text}");
        for told in [
            "run &lt;default>",
            "10.00  [10.00 to 10.00]",
            ">0<",
            "one run",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(text.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number_behind_the_largest_value() {
        let of = |most| {
            let axis = Axis::up_to(most);
            (axis.end, axis.ticks().count())
        };
        assert_eq!(of(16.3), (20.0, 5));
        assert_eq!(of(100.0), (100.0, 5));
        assert_eq!(of(0.9), (1.0, 5));
        assert!(of(0.0).0 > 0.0);
    }

    #[test]
    fn a_target_shows_every_run_and_says_the_last() {
        let ratio = |median| {
            Some(Ratio {
                median,
                low: median,
                high: median * 3.0,
            })
        };
        let [first, second] = [TARGETS[0], TARGETS[1]];
        let rows = [
            (first, vec![ratio(9.0), None, ratio(1.2)]),
            (second, vec![None, None, None]),
        ];
        let text = of_targets(&rows, "");
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(
            text.contains("1.20 [1.20, 3.60], at most 1.5, pass"),
            "{text}"
        );
        assert!(text.contains("not measured, at most 0.4"), "{text}");
        assert!(text.contains("beyond"), "{text}");
        // What is wanted is in the middle.
        let goal = text.split("class=\"goal\"").nth(1).unwrap();
        assert!((number(goal, "x1=\"") - WIDTH / 2.0).abs() < 0.1);
    }

    #[test]
    fn ticks_have_no_zeros_that_say_nothing() {
        let shown = ["0.00", "20.00", "2.50", "1.25", "1500", "500 k", "2.00 M"].map(short);
        assert_eq!(shown, ["0", "20", "2.5", "1.25", "1500", "500 k", "2.00 M"]);
    }

    #[test]
    fn long_sources_are_wrapped_at_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
    }
}
