//! The reader of JSON against the grammar, against another reader, and against malice.

use oci::json::{self, Value};

fn refused(text: &[u8]) -> String {
    json::parse(text).unwrap_err().to_string()
}

/// What serde_json makes of the same value.
fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(ours), Theirs::Bool(theirs)) => ours == theirs,
        // Theirs is rounded twice.
        (Value::Number(ours), Theirs::Number(theirs)) => {
            let (ours, theirs) = (ours.parse::<f64>().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14
        }
        (Value::String(ours), Theirs::String(theirs)) => ours == theirs,
        (Value::Array(ours), Theirs::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        // Its last of two members wins, and ours are both there.
        (Value::Object(ours), Theirs::Object(theirs)) => theirs.iter().all(|(key, theirs)| {
            let mut ours = ours.iter().rev();
            ours.find(|(name, _)| name == key)
                .is_some_and(|(_, ours)| same(ours, theirs))
        }),
        _ => false,
    }
}

#[test]
fn the_grammar() {
    for good in [
        "null",
        " \t\r\n[ ] ",
        "[1,-0,0.5,1E+9,1e-9]",
        r#"{"":{"a":[true,false,null]}}"#,
        r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#,
        "\"\u{7f}\u{e9}\u{1f600}\"",
    ] {
        let ours = json::parse(good.as_bytes()).unwrap_or_else(|e| panic!("{good}: {e}"));
        let theirs = serde_json::from_str(good).unwrap();
        assert!(same(&ours, &theirs), "{good}: {ours:?}");
    }
    for bad in [
        "",
        " ",
        "nul",
        "nulll",
        "[1",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "1 2",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\n\"",
        "'a'",
        "// a\n1",
        "\u{feff}1",
        "NaN",
        "[1}",
        "{\"a\":1]",
        "\"\\u+123\"",
    ] {
        let message = refused(bad.as_bytes());
        assert!(
            message.starts_with("not JSON at line "),
            "{bad:?}: {message}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(bad).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn the_place_is_named() {
    let message = refused(b"{\n  \"a\": 1,\n  \"b\" 2\n}");
    assert_eq!(message, "not JSON at line 3, column 7: ':' is expected");
    let message = refused(b"[\"a\xff\"]");
    assert_eq!(
        message,
        "not JSON at line 1, column 4: the text is not UTF-8"
    );
}

#[test]
fn depth_and_number_of_values_are_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(json::parse(nested(128).as_bytes()).is_ok());
    assert!(refused(nested(129).as_bytes()).ends_with("more than 128 levels"));
    // No end in sight, as whoever wants to exhaust a stack writes it.
    assert!(refused("[".repeat(10_000_000).as_bytes()).ends_with("more than 128 levels"));
    assert!(refused("{\"a\":".repeat(1_000_000).as_bytes()).ends_with("more than 128 levels"));
    let many = format!("[{}0]", "0,".repeat(2_000_000));
    assert!(refused(many.as_bytes()).ends_with("more than a million values"));
}

/// A xorshift generator: the same mutations every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Whatever the bytes are, both readers agree on whether they are JSON, and on what it says; and
/// the types read it without a panic.
#[test]
fn damaged_documents_are_judged_as_by_another_reader() {
    let document = include_bytes!("everything.json");
    let bytes = b"{}[]\",:\\u0019eE-+. \n\x00\x1f\xc3\xa9\xffntfd";
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut good = 0;
    for _ in 0..20_000 {
        let start = dice.below(document.len() / 2);
        let mut text = if dice.below(2) == 0 {
            document.to_vec()
        } else {
            document[start..start + dice.below(200)].to_vec()
        };
        for _ in 0..dice.below(3) {
            let at = dice.below(text.len().max(1));
            match dice.below(3) {
                0 => text.insert(at.min(text.len()), bytes[dice.below(bytes.len())]),
                1 if at < text.len() => text[at] = bytes[dice.below(bytes.len())],
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let shown = String::from_utf8_lossy(&text).into_owned();
        match (json::parse(&text), serde_json::from_slice(&text)) {
            (Ok(ours), Ok(theirs)) => {
                good += 1;
                assert!(same(&ours, &theirs), "{shown}");
                let _ = oci::inspect::<oci::Spec>(&text).unwrap();
            }
            (Err(_), Err(_)) => {}
            // serde_json refuses numbers that no f64 can hold; the types say it better.
            (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{shown}"),
            (Err(error), Ok(_)) => panic!("{error}: {shown}"),
        }
    }
    assert!(good > 1_000, "{good}");
}
