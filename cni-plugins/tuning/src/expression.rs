//! The allow-list's regular expressions, written for Go, in the words of POSIX. Pure.
//!
//! Both agree on nearly everything that such a list holds. What they spell differently is
//! translated here; what POSIX has no words for is an error, so that nothing is allowed, or not
//! allowed, by a misunderstanding. Why no crate does this: docs/decisions/0030.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = " \t\n\r\u{c}\u{b}";

/// The extended regular expression with the same meaning, or what is not understood.
pub(crate) fn to_posix(go: &str) -> Result<String, String> {
    let mut posix = String::with_capacity(go.len());
    let mut rest = go.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut posix)?,
            '[' => bracket(&mut rest, &mut posix)?,
            '(' => {
                posix.push('(');
                if rest.next_if_eq(&'?').is_some() && rest.next() != Some(':') {
                    return Err("flags and names of groups, (?...)".into());
                }
            }
            '*' | '+' | '?' => {
                posix.push(c);
                // Whether few or many are taken first changes no answer of yes or no.
                let _ = rest.next_if_eq(&'?');
            }
            '{' => repetition(&mut rest, &mut posix)?,
            c => posix.push(c),
        }
    }
    Ok(posix)
}

fn escape(rest: &mut Peekable<Chars<'_>>, posix: &mut String) -> Result<(), String> {
    let class = match rest.next() {
        None => return Err("a \\ at the end".into()),
        Some('d') => format!("[{DIGIT}]"),
        Some('D') => format!("[^{DIGIT}]"),
        Some('w') => format!("[{WORD}]"),
        Some('W') => format!("[^{WORD}]"),
        Some('s') => format!("[{SPACE}]"),
        Some('S') => format!("[^{SPACE}]"),
        Some('A') => "^".into(),
        Some('z') => "$".into(),
        Some('t') => "\t".into(),
        // With a \ these are operators of GNU, and in Go themselves.
        Some(c @ ('<' | '>' | '`' | '\'')) => format!("[{c}]"),
        Some(c) if c.is_ascii_punctuation() => format!("\\{c}"),
        Some(c) => return Err(format!("\\{c}")),
    };
    posix.push_str(&class);
    Ok(())
}

fn repetition(rest: &mut Peekable<Chars<'_>>, posix: &mut String) -> Result<(), String> {
    let mut bounds = String::new();
    for c in rest.by_ref() {
        match c {
            // Without a lower bound it is text in Go, and from 0 on in GNU.
            '}' if !bounds.starts_with(|c: char| c.is_ascii_digit()) => break,
            '}' => {
                // Writing to a String cannot fail.
                let _ = write!(posix, "{{{bounds}}}");
                let _ = rest.next_if_eq(&'?');
                return Ok(());
            }
            '0'..='9' | ',' => bounds.push(c),
            _ => break,
        }
    }
    Err("a { that begins no repetition; write \\{".into())
}

/// In POSIX a bracket knows no escapes: what would mean something else stands elsewhere in it.
fn bracket(rest: &mut Peekable<Chars<'_>>, posix: &mut String) -> Result<(), String> {
    let unfinished = || "a [ without its ]".to_owned();
    let negated = rest.next_if_eq(&'^').is_some();
    let (mut singles, mut ranges) = (Vec::new(), String::new());
    let mut first = true;
    loop {
        let low = match rest.next().ok_or_else(unfinished)? {
            ']' if !first => break,
            '[' if rest.peek() == Some(&':') => {
                named_class(rest, &mut ranges)?;
                first = false;
                continue;
            }
            '\\' => match rest.next().ok_or_else(unfinished)? {
                'd' => {
                    ranges.push_str(DIGIT);
                    continue;
                }
                'w' => {
                    ranges.push_str("0-9A-Za-z");
                    singles.push('_');
                    continue;
                }
                's' => {
                    singles.extend(SPACE.chars());
                    continue;
                }
                c if c.is_ascii_punctuation() => c,
                c => return Err(format!("\\{c} within [ ]")),
            },
            c => c,
        };
        first = false;
        if rest.peek() == Some(&'-') && is_range(rest) {
            rest.next();
            let high = match rest.next().ok_or_else(unfinished)? {
                '\\' => rest.next().ok_or_else(unfinished)?,
                c => c,
            };
            if !low.is_ascii_alphanumeric() || !high.is_ascii_alphanumeric() || low > high {
                return Err(format!("the range {low}-{high}"));
            }
            let _ = write!(ranges, "{low}-{high}"); // writing to a String cannot fail
        } else {
            singles.push(low);
        }
    }
    write_bracket(negated, &singles, &ranges, posix);
    Ok(())
}

/// Whether the `-` ahead is between two characters, and not the last before the `]`.
fn is_range(rest: &Peekable<Chars<'_>>) -> bool {
    let mut ahead = rest.clone();
    ahead.next();
    !matches!(ahead.next(), None | Some(']'))
}

fn named_class(rest: &mut Peekable<Chars<'_>>, ranges: &mut String) -> Result<(), String> {
    let name: String = rest.by_ref().skip(1).take_while(|c| *c != ':').collect();
    if rest.next() != Some(']') || name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase())
    {
        return Err(format!("the class [:{name}"));
    }
    let _ = write!(ranges, "[:{name}:]"); // writing to a String cannot fail
    Ok(())
}

/// `]` first, `-` last, `^` not first, and `[` not before what would make it a class.
fn write_bracket(negated: bool, singles: &[char], ranges: &str, posix: &mut String) {
    let has = |c: char| singles.contains(&c);
    let mut inside = String::new();
    if has(']') {
        inside.push(']');
    }
    inside.push_str(ranges);
    inside.extend(singles.iter().filter(|c| !"]^-[".contains(**c)));
    if has('[') {
        inside.push('[');
    }
    match (has('^'), has('-')) {
        (true, false) if inside.is_empty() && !negated => return posix.push_str("\\^"),
        (true, true) if inside.is_empty() => inside.push_str("-^"),
        (caret, dash) => {
            inside.extend(caret.then_some('^'));
            inside.extend(dash.then_some('-'));
        }
    }
    posix.push_str(if negated { "[^" } else { "[" });
    posix.push_str(&inside);
    posix.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::regex::Regex;

    #[test]
    fn go_s_expressions_match_what_they_match_in_go() {
        for (go, text, expected) in [
            (
                r"^net\.ipv4\.conf\.[a-z0-9]+\.log_martians$",
                "net.ipv4.conf.eth0.log_martians",
                true,
            ),
            (
                r"^net\.ipv4\.conf\.[a-z0-9]+\.log_martians$",
                "net.ipv4.conf.eth-0.log_martians",
                false,
            ),
            (r"conf", "net.ipv4.conf.all", true),
            (
                r"^net\.\w+\.(?:tcp|udp)_\d{1,2}?x*?$",
                "net.ipv4.tcp_12",
                true,
            ),
            (
                r"^net\.\w+\.(?:tcp|udp)_\d{1,2}?x*?$",
                "net.ipv4.tcp_123",
                false,
            ),
            (r"^[\w.\-/]+$", "net.ipv4/a-b", true),
            (r"^[\w.\-/]+$", "net ipv4", false),
            (r"^[^\d.]+$", "abc", true),
            (r"^[^\d.]+$", "a1", false),
            (r"^[]a]+$", "a]", true),
            (r"^[\]^-]+$", "]^-", true),
            (r"^[\^]$", "^", true),
            (r"^[\^-]+$", "-^", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[\[:]+$", "[:", true),
            (r"^[\[^]+$", "[^", true),
            (r"^[\[^]+$", "-", false),
            (r"^a\>$", "a>", true),
            (r"^\<a\>", "a", false),
            (r"^\`\'$", "`'", true),
            (r"\A(a|b)\z", "b", true),
            (r"^\s\S\D\W$", " xx.", true),
        ] {
            let posix = to_posix(go).unwrap_or_else(|error| panic!("{go}: {error}"));
            let compiled = Regex::new(&posix).unwrap_or_else(|error| panic!("{posix}: {error}"));
            assert_eq!(
                compiled.matches(text),
                expected,
                "{go} as {posix} on {text}"
            );
        }
    }

    #[test]
    fn what_has_no_words_in_posix_is_refused() {
        for go in [
            "(?i)net",
            "(?P<x>a)",
            r"\bnet",
            r"\p{Greek}",
            r"\x41",
            "a{",
            "a{b}",
            "a{,5}",
            "a{}",
            "[a",
            r"[\D]",
            r"a\",
            "[[:x",
            "[!-z]",
            r"\Qa\E",
        ] {
            assert!(to_posix(go).is_err(), "{go}");
        }
    }
}
