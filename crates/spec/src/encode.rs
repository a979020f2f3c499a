//! From types to compact JSON: absent properties are left out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// JSON that is being written.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
}

impl Writer {
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Writes an object by its members.
    pub(crate) fn object<'a>(&mut self, members: impl Iterator<Item = (&'a str, &'a dyn Encode)>) {
        self.text.push('{');
        let mut separator = "";
        for (name, value) in members.filter(|(_, value)| !value.is_absent()) {
            self.text.push_str(separator);
            self.string(name);
            self.text.push(':');
            value.encode(self);
            separator = ",";
        }
        self.text.push('}');
    }

    fn array<'a>(&mut self, elements: impl Iterator<Item = &'a dyn Encode>) {
        self.text.push('[');
        let mut separator = "";
        for element in elements {
            self.text.push_str(separator);
            element.encode(self);
            separator = ",";
        }
        self.text.push(']');
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.text.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => self.text.extend(['\\', char]),
                '\0'..' ' => self.display(format_args!("\\u{:04x}", u32::from(char))),
                char => self.text.push(char),
            }
        }
        self.text.push('"');
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        // A String takes every write.
        let _ = write!(self.text, "{value}");
    }
}

/// What can be written as JSON.
pub trait Encode {
    /// Writes it.
    fn encode(&self, writer: &mut Writer);

    /// Whether the property is to be left out.
    fn is_absent(&self) -> bool {
        false
    }
}

impl Encode for bool {
    fn encode(&self, writer: &mut Writer) {
        writer.display(self);
    }
}

impl Encode for String {
    fn encode(&self, writer: &mut Writer) {
        writer.string(self);
    }
}

/// What was read from JSON is UTF-8; of another path, what is not becomes U+FFFD.
impl Encode for PathBuf {
    fn encode(&self, writer: &mut Writer) {
        writer.string(&self.to_string_lossy());
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Encode for $type {
            fn encode(&self, writer: &mut Writer) {
                writer.display(self);
            }
        })*
    };
}

numbers!(i32, i64, u16, u32, u64, usize);

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.encode(writer),
            None => writer.text.push_str("null"),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, writer: &mut Writer) {
        writer.array(self.iter().map(|element| element as &dyn Encode));
    }
}

impl<T: Encode> Encode for BTreeMap<String, T> {
    fn encode(&self, writer: &mut Writer) {
        writer.object(
            self.iter()
                .map(|(key, value)| (key.as_str(), value as &dyn Encode)),
        );
    }
}
