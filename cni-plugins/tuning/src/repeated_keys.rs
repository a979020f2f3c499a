//! Keys that are given twice in one JSON object. Pure.
//!
//! A decoder keeps the last and says nothing; which of two sysctls was meant nobody can know.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A document of which only the objects and the order of their keys matter.
enum Node {
    Object(Vec<(String, Node)>),
    Other,
}

/// The first key that stands twice in an object at `path`, whose parts match in any case.
pub(crate) fn first_repeated(text: &str, path: &[&str]) -> Option<String> {
    // What is no JSON was refused before anybody asks this.
    let document: Node = serde_json::from_str(text).ok()?;
    repeated_below(&document, path)
}

fn repeated_below(node: &Node, path: &[&str]) -> Option<String> {
    let Node::Object(entries) = node else {
        return None;
    };
    let Some((first, rest)) = path.split_first() else {
        let mut seen = entries.iter().enumerate();
        let twice =
            seen.find(|(at, (key, _))| entries[..*at].iter().any(|(other, _)| other == key));
        return twice.map(|(_, (key, _))| key.clone());
    };
    let mut matching = entries
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(first));
    matching.find_map(|(_, node)| repeated_below(node, rest))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! other {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Node, E> {
            Ok(Node::Other)
        })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    other!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_object_at_the_path_counts() {
        let text = r#"{"x":{"a":1,"a":2},"Args":{"CNI":{"sysctl":{"a":"1","b":[1,{}],"a":null}}},
            "sysctl":{"a":1.5,"b":true}}"#;
        assert_eq!(
            first_repeated(text, &["args", "cni", "sysctl"]).as_deref(),
            Some("a")
        );
        assert_eq!(first_repeated(text, &["sysctl"]), None);
        assert_eq!(first_repeated(text, &["missing"]), None);
        assert_eq!(first_repeated("7", &["sysctl"]), None);
    }
}
