//! A configuration from which parts are taken, and the pointers that the rest had before.

use std::collections::BTreeMap;

use serde_json::Value;

/// A configuration that is being cut down.
#[derive(Clone, Debug)]
pub(super) struct Document {
    value: Value,
    /// By the array's first pointer: the first indices of the elements that were taken out.
    removed: BTreeMap<String, Vec<usize>>,
}

impl Document {
    pub(super) fn new(tree: &oci::json::Value<'_>) -> Self {
        Self {
            value: plain(tree),
            removed: BTreeMap::new(),
        }
    }

    pub(super) fn text(&self) -> String {
        self.value.to_string()
    }

    /// Whether the array at `pointer` is empty because all its elements were taken out.
    pub(super) fn was_emptied(&self, pointer: &str) -> bool {
        let now = self.value.pointer(pointer).and_then(Value::as_array);
        now.is_some_and(Vec::is_empty) && self.removed.contains_key(&self.original(pointer))
    }

    /// The pointer that the value at `pointer` had before anything was taken out.
    pub(super) fn original(&self, pointer: &str) -> String {
        let mut original = String::new();
        let mut here = Some(&self.value);
        for step in pointer.split('/').skip(1) {
            let name = unescaped(step);
            let index = match (here, name.parse()) {
                (Some(Value::Array(_)), Ok(index)) => Some(self.first_index(&original, index)),
                _ => None,
            };
            here = here.and_then(|value| match value {
                Value::Object(members) => members.get(&name),
                Value::Array(values) => values.get(name.parse::<usize>().ok()?),
                _ => None,
            });
            original.push('/');
            match index {
                Some(index) => original += &index.to_string(),
                None => original += step,
            }
        }
        original
    }

    fn first_index(&self, array: &str, index: usize) -> usize {
        let removed = self.removed.get(array).into_iter().flatten();
        removed.fold(
            index,
            |index, &gone| {
                if gone <= index { index + 1 } else { index }
            },
        )
    }

    /// Without the value at `pointer`; `None` if there is none.
    pub(super) fn without(&self, pointer: &str) -> Option<Self> {
        let (parent, name) = pointer.rsplit_once('/')?;
        let mut rest = self.clone();
        match rest.value.pointer_mut(parent)? {
            Value::Object(members) => drop(members.shift_remove(&unescaped(name))?),
            Value::Array(values) => {
                let index: usize = name.parse().ok().filter(|index| *index < values.len())?;
                values.remove(index);
                let array = self.original(parent);
                let index = self.first_index(&array, index);
                let removed = rest.removed.entry(array).or_default();
                removed.push(index);
                removed.sort_unstable();
            }
            _ => return None,
        }
        Some(rest)
    }

    /// With `value` at `pointer`; `None` if what it would be in is not there.
    pub(super) fn with(&self, pointer: &str, value: Value) -> Option<Self> {
        let (parent, name) = pointer.rsplit_once('/')?;
        let mut other = self.clone();
        match other.value.pointer_mut(parent)? {
            Value::Object(members) => drop(members.insert(unescaped(name), value)),
            Value::Array(values) => *values.get_mut(name.parse::<usize>().ok()?)? = value,
            _ => return None,
        }
        Some(other)
    }

    /// The nearest element of an array that `pointer` leads into.
    pub(super) fn element<'p>(&self, pointer: &'p str) -> Option<&'p str> {
        let mut at = pointer;
        while let Some((parent, name)) = at.rsplit_once('/') {
            let array = self.value.pointer(parent).is_some_and(Value::is_array);
            if array && name.parse::<usize>().is_ok() {
                return Some(at);
            }
            at = parent;
        }
        None
    }
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The same tree with the first of members that are there twice.
fn plain(tree: &oci::json::Value<'_>) -> Value {
    use oci::json::Value as Tree;
    match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(*value),
        // No property takes a number that does not fit here.
        Tree::Number(text) => serde_json::from_str(text).unwrap_or_default(),
        Tree::String(text) => Value::String(text.clone().into_owned()),
        Tree::Array(values) => values.iter().map(plain).collect(),
        Tree::Object(members) => {
            let mut object = serde_json::Map::new();
            for (name, value) in members {
                let entry = object.entry(name.clone().into_owned());
                entry.or_insert_with(|| plain(value));
            }
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(&oci::json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn pointers_are_those_of_before() {
        let document = document(r#"{"a":[{"x":1},{"x":[1,2,3]},{"x":3}],"b/c":1}"#);
        let rest = document.without("/a/0").unwrap();
        let rest = rest.without("/a/0/x/1").unwrap();
        assert_eq!(rest.text(), r#"{"a":[{"x":[1,3]},{"x":3}],"b/c":1}"#);
        assert_eq!(rest.original("/a/0/x/1"), "/a/1/x/2");
        assert_eq!(rest.original("/a/1/y"), "/a/2/y");
        let rest = rest.without("/a/1").unwrap().without("/b~1c").unwrap();
        assert_eq!(rest.text(), r#"{"a":[{"x":[1,3]}]}"#);
        assert_eq!(rest.original("/a/0/x/0"), "/a/1/x/0");
        assert!(rest.without("/a/7").is_none());
        assert!(rest.without("/z").is_none());
    }

    #[test]
    fn the_element_that_a_pointer_leads_into() {
        let document = document(r#"{"a":[{"x":{"0":1}}]}"#);
        assert_eq!(document.element("/a/0/x/0/y"), Some("/a/0"));
        assert_eq!(document.element("/b/0"), None);
    }
}
