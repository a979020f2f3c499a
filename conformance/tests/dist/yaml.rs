//! As much of YAML as a manifest needs: block and flow collections, plain and quoted scalars. What
//! is beyond that - tabs, anchors, tags, text over several lines - is refused, not guessed.

use serde_json::{Map, Value};

type Parsed<T> = Result<T, String>;

/// A document with one value.
pub(crate) fn parse(text: &str) -> Parsed<Value> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = without_comment(line).trim_end();
        let indent = content.len() - content.trim_start_matches(' ').len();
        if content.contains('\t') {
            return Err(format!("line {}: a tab", index + 1));
        }
        if !content.is_empty() {
            lines.push((indent, content[indent..].to_owned(), index + 1));
        }
    }
    let mut block = Block { lines, at: 0 };
    let value = block.value(0)?;
    match block.lines.get(block.at) {
        None => Ok(value),
        Some((_, content, line)) => Err(format!("line {line}: {content:?} does not fit")),
    }
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && before == ' ' => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line
}

/// Lines, each with its indentation and number.
struct Block {
    lines: Vec<(usize, String, usize)>,
    at: usize,
}

impl Block {
    /// The collection whose lines are indented by at least `least`.
    fn value(&mut self, least: usize) -> Parsed<Value> {
        match self.lines.get(self.at) {
            Some((indent, content, _)) if *indent >= least => {
                let indent = *indent;
                if content.starts_with("- ") {
                    self.sequence(indent)
                } else {
                    self.mapping(indent)
                }
            }
            _ => Ok(Value::Null),
        }
    }

    fn sequence(&mut self, indent: usize) -> Parsed<Value> {
        let mut items = Vec::new();
        while let Some((at, content, line)) = self.lines.get_mut(self.at) {
            if *at != indent || !content.starts_with("- ") {
                break;
            }
            // What follows the dash is a line of its own, further in.
            let rest = content[2..].to_owned();
            if key_and_rest(&rest).is_some() {
                (*at, *content) = (indent + 2, rest);
                items.push(self.mapping(indent + 2)?);
            } else {
                items.push(inline(&rest, *line)?);
                self.at += 1;
            }
        }
        Ok(Value::Array(items))
    }

    fn mapping(&mut self, indent: usize) -> Parsed<Value> {
        let mut map = Map::new();
        while let Some((at, content, line)) = self.lines.get(self.at) {
            if *at != indent || content.starts_with("- ") {
                break;
            }
            let line = *line;
            let Some((key, rest)) = key_and_rest(content) else {
                return Err(format!("line {line}: no key in {content:?}"));
            };
            let (key, rest) = (key.to_owned(), rest.to_owned());
            self.at += 1;
            let value = if rest.is_empty() {
                self.value(indent + 1)?
            } else {
                inline(&rest, line)?
            };
            if map.insert(key.clone(), value).is_some() {
                return Err(format!("line {line}: {key} for the second time"));
            }
        }
        Ok(Value::Object(map))
    }
}

fn key_and_rest(content: &str) -> Option<(&str, &str)> {
    let (key, rest) = content.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "./-_".contains(c);
    let known = !key.is_empty() && key.chars().all(plain);
    let ends = rest.is_empty() || rest.starts_with(' ');
    (known && ends).then(|| (key, rest.trim()))
}

fn inline(text: &str, line: usize) -> Parsed<Value> {
    let (value, rest) = flow(text, "").map_err(|error| format!("line {line}: {error}"))?;
    if rest.trim().is_empty() {
        Ok(value)
    } else {
        Err(format!("line {line}: {rest:?} after the value"))
    }
}

/// A value at the start of `text`, and what follows; a plain scalar ends before one of `ends`.
fn flow<'a>(text: &'a str, ends: &str) -> Parsed<(Value, &'a str)> {
    match text.chars().next() {
        Some('{') => flow_mapping(&text[1..]),
        Some('[') => flow_sequence(&text[1..]),
        Some(quote @ ('"' | '\'')) => {
            let end = text[1..].find(quote).ok_or("an open quote")? + 1;
            if text[..end].contains('\\') {
                return Err("an escape".into());
            }
            Ok((Value::from(&text[1..end]), &text[end + 1..]))
        }
        Some('&' | '*' | '!' | '|' | '>' | '%' | '@' | '`') | None => {
            Err(format!("{text:?} is no value that is known here"))
        }
        Some(_) => {
            let end = text.find(|c| ends.contains(c)).unwrap_or(text.len());
            scalar(text[..end].trim()).map(|value| (value, &text[end..]))
        }
    }
}

fn scalar(text: &str) -> Parsed<Value> {
    if text.contains(": ") || text.ends_with(':') {
        return Err(format!("a colon in {text:?}"));
    }
    Ok(match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" | "~" | "" => Value::Null,
        _ => text.parse::<i64>().map_or(Value::from(text), Value::from),
    })
}

fn flow_sequence(text: &str) -> Parsed<(Value, &str)> {
    let mut items = Vec::new();
    let mut text = text.trim_start();
    while !text.starts_with(']') {
        let (item, rest) = flow(text, ",]")?;
        items.push(item);
        text = after_comma(rest, ']')?;
    }
    Ok((Value::Array(items), &text[1..]))
}

fn flow_mapping(text: &str) -> Parsed<(Value, &str)> {
    let mut map = Map::new();
    let mut text = text.trim_start();
    while !text.starts_with('}') {
        let (key, rest) = text
            .split_once(": ")
            .ok_or("a flow mapping without a key")?;
        let (value, rest) = flow(rest.trim_start(), ",}")?;
        if map.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} for the second time"));
        }
        text = after_comma(rest, '}')?;
    }
    Ok((Value::Object(map), &text[1..]))
}

fn after_comma(text: &str, end: char) -> Parsed<&str> {
    let text = text.trim_start();
    match text.strip_prefix(',') {
        Some(rest) => Ok(rest.trim_start()),
        None if text.starts_with(end) => Ok(text),
        None => Err(format!("neither , nor {end} before {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_manifest_is_read() {
        let text = "# a comment\na: 1 # another\nb:\n  - c: \"x: # y\"\n    d: { e: f, g: [1, \"2\"] }\n  - h\ni:\n";
        let expected = json!({
            "a": 1,
            "b": [{ "c": "x: # y", "d": { "e": "f", "g": [1, "2"] } }, "h"],
            "i": null,
        });
        assert_eq!(super::parse(text), Ok(expected));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for text in [
            "a: 1\na: 2",
            "a:\n   b: 1\n  c: 2",
            "\ta: 1",
            "a",
            "a: [1, 2",
            "a: { b: 1",
            "a: \"b",
            "a: b: c",
            "a: |\n  text",
            "a: &b 1",
            "- a\nb: 1",
            "a: [1] 2",
            "a: { b: 1, b: 2 }",
        ] {
            let parsed = super::parse(text);
            assert!(parsed.is_err(), "{text:?} is {parsed:?}");
        }
    }
}
