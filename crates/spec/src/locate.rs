//! Where in a document a value is written, found without reading the document.
//!
//! Whoever knows what the very same bytes came to last time need not read them again. What is found
//! here is only where they are: whether the document is one, only reading it with something else in
//! their place can tell, and whether that was read at the same place.

use std::ops::Range;

/// Where the value of the member `inner` of the member `outer` of a document is. `None` also for names
/// that are written with escapes, and for text that goes wrong on the way.
pub fn locate(text: &[u8], outer: &str, inner: &str) -> Option<Range<usize>> {
    let mut scan = Scan { text, at: 0 };
    scan.enter(outer)?;
    scan.enter(inner)?;
    scan.blanks();
    let start = scan.at;
    scan.skip()?;
    Some(start..scan.at)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// From before an object to before the value of its first member of that name.
    fn enter(&mut self, name: &str) -> Option<()> {
        self.take(b'{')?;
        loop {
            self.take(b'"')?;
            let start = self.at;
            self.string()?;
            let found = self.text.get(start..self.at - 1)? == name.as_bytes();
            self.take(b':')?;
            if found {
                return Some(());
            }
            self.blanks();
            self.skip()?;
            self.take(b',')?;
        }
    }

    /// To the end of a string that has begun.
    fn string(&mut self) -> Option<()> {
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }

    /// Over a value.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let byte = self.peek()?;
            match byte {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                // A number or a word ends before what follows it.
                _ if depth == 0 => {
                    let ends = |byte: &u8| {
                        matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                    };
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                    return Some(());
                }
                _ => self.at += 1,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        locate(text.as_bytes(), "linux", "seccomp").map(|range| &text[range])
    }

    #[test]
    fn the_value_is_found_between_others() {
        let text = r#" { "a" : {"linux":{"seccomp":1}}, "b":[{},"}"], "linux":{"x":"\"}","seccomp" :
            {"n":[1,"]\\"]} , "y":2}, "seccomp":3 } "#;
        assert_eq!(found(text), Some(r#"{"n":[1,"]\\"]}"#));
        assert_eq!(found(r#"{"linux":{"seccomp":null}}"#), Some("null"));
        assert_eq!(found(r#"{"linux":{"seccomp": -1 }}"#), Some("-1"));
    }

    #[test]
    fn what_is_not_there_or_no_document_is_not_found() {
        for text in [
            "",
            "[]",
            r#"{"seccomp":{}}"#,
            r#"{"linux":{}}"#,
            r#"{"linux":[]}"#,
            r#"{"linux":{"seccomp":{"#,
            r#"{"linux":{"seccomp":"x"#,
            r#"{"linux":{"\u0073eccomp":1}}"#,
            r#"{"linux" {"seccomp":1}}"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
