//! JSON decoded as Go's `encoding/json` decodes it, into types that derive `Deserialize`.
//!
//! Runtimes rely on Go's leniency: containerd sends `HostPort` where the documentation says
//! `hostPort`. [`decode`] gives any derived struct these rules, at every depth:
//! - a key matches a field exactly or without regard to case; of several, the last counts;
//! - `null` leaves a field as it was, that is, absent (so give fields `#[serde(default)]`);
//! - unknown keys are ignored; a key inside a map or a [`Value`] stays as it is.
//!
//! serde tells a deserializer the fields of the struct it wants, so no list of keys is kept here.
//! `#[serde(flatten)]` hides that list and must not be used with [`decode`].

use std::fmt;
use std::net::IpAddr;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// A value that does not fit the wanted type, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    path: String,
    problem: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self {
            path: String::new(),
            problem: problem.to_string(),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = in_words(&expected);
        Self::custom(format_args!("invalid type: {found}, expected {expected}"))
    }
}

/// What serde calls by Rust's names, in JSON's.
fn in_words(expected: &str) -> &str {
    match expected {
        "a map" => "an object",
        "a sequence" => "a list",
        "i64" | "i32" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        _ if expected.starts_with("struct ") => "an object",
        other => other,
    }
}

impl DecodeError {
    fn below(mut self, place: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{place}{joint}{}", self.path);
        self
    }
}

/// Parses one JSON document; what follows it must be white space.
///
/// Bytes that are no UTF-8 become U+FFFD, as in Go. Integers up to 64 bits stay exact.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&String::from_utf8_lossy(bytes))
}

/// Decodes `value` by the rules above.
pub fn decode<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, DecodeError> {
    T::deserialize(GoJson(value))
}

/// For `Option<IpAddr>` fields: the empty text means that the address is not set.
///
/// Use as `#[serde(default, deserialize_with = "cni::go_json::optional_ip")]`.
pub fn optional_ip<'de, D: Deserializer<'de>>(json: D) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(json)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<IpAddr>() {
            Ok(address) => Ok(Some(address.to_canonical())),
            Err(_) => Err(de::Error::custom(format!("invalid IP address: {text:?}"))),
        },
    }
}

struct GoJson<'de>(&'de Value);

impl<'de> Deserializer<'de> for GoJson<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Value::Object(map) => {
                let entries = map
                    .iter()
                    .map(|(key, value)| (key.as_str(), value))
                    .collect();
                visitor.visit_map(Entries::new(entries))
            }
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Object(map) => {
                let mut entries: Vec<(&'de str, &'de Value)> = Vec::new();
                for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                    let Some(field) = matching(fields, key) else {
                        continue;
                    };
                    entries.retain(|(earlier, _)| *earlier != field);
                    entries.push((field, value));
                }
                visitor.visit_map(Entries::new(entries))
            }
            Value::Null => visitor.visit_map(Entries::new(Vec::new())),
            // serde's derived structs would take a list of their fields.
            Value::Array(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.0.is_null() {
            return visitor.visit_seq(Items([].iter().enumerate()));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.0.is_null() {
            return visitor.visit_map(Entries::new(Vec::new()));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0
            .deserialize_enum(name, variants, visitor)
            .map_err(de::Error::custom)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The field that `key` means: the same text, else the same text in another case.
fn matching(fields: &'static [&'static str], key: &str) -> Option<&'static str> {
    let exact = fields.iter().find(|field| **field == key);
    exact
        .or_else(|| fields.iter().find(|field| folded(field).eq(folded(key))))
        .copied()
}

/// Go folds all of Unicode; beside ASCII only these two letters fold into it.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    })
}

struct Entries<'de> {
    rest: std::vec::IntoIter<(&'de str, &'de Value)>,
    current: Option<(&'de str, &'de Value)>,
}

impl<'de> Entries<'de> {
    fn new(entries: Vec<(&'de str, &'de Value)>) -> Self {
        Self {
            rest: entries.into_iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, DecodeError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(GoJson(value))
            .map_err(|error| error.below(key))
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Value>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some((index, value)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(GoJson(value))
            .map(Some)
            .map_err(|error| error.below(&format!("[{index}]")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Mapping {
        host_port: u16,
        protocol: String,
        #[serde(deserialize_with = "optional_ip")]
        host_ip: Option<IpAddr>,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Config {
        ip_masq: bool,
        mappings: Vec<Mapping>,
        args: Value,
        big: u64,
        mtu: Option<u32>,
    }

    fn config(json: &Value) -> Config {
        decode(json).unwrap()
    }

    #[test]
    fn keys_match_without_regard_to_case_at_every_depth() {
        let json = json!({"IPMASQ": true, "Mappings": [{"HostPort": 80, "Protocol": "tcp"}]});
        let config = config(&json);
        assert!(config.ip_masq);
        assert_eq!(config.mappings[0].host_port, 80);
        assert_eq!(config.mappings[0].protocol, "tcp");
        let kelvin: Mapping = decode(&json!({"ho\u{17f}tPort": 8})).unwrap();
        assert_eq!(kelvin.host_port, 8);
    }

    #[test]
    fn of_two_spellings_the_last_counts() {
        assert!(!config(&json!({"ipMasq": true, "IPMasq": false})).ip_masq);
        assert!(config(&json!({"IPMasq": false, "ipMasq": true})).ip_masq);
        assert!(
            config(&json!({"ipMasq": true, "IPMasq": null})).ip_masq,
            "null leaves it"
        );
    }

    #[test]
    fn null_means_absent_everywhere() {
        let json = json!({"ipMasq": null, "mappings": null, "mtu": null, "big": null});
        assert_eq!(config(&json), Config::default());
        assert_eq!(config(&Value::Null), Config::default());
        assert_eq!(
            config(&json!({"mappings": [null]})).mappings,
            [Mapping::default()]
        );
    }

    #[test]
    fn an_empty_address_is_no_address() {
        let of = |text: &str| decode::<Mapping>(&json!({"hostIP": text})).map(|m| m.host_ip);
        assert_eq!(of(""), Ok(None));
        assert_eq!(
            of("::ffff:10.0.0.1"),
            Ok(Some("10.0.0.1".parse().unwrap())),
            "as Go's net.IP"
        );
        assert_eq!(
            of("x").unwrap_err().to_string(),
            "hostIp: invalid IP address: \"x\""
        );
    }

    #[test]
    fn raw_values_and_big_numbers_stay_as_they_are() {
        let big = (1_u64 << 53) + 1;
        let json = json!({"big": big, "args": {"CNI": {"n": big, "x": null}}});
        assert_eq!(config(&json).big, big);
        assert_eq!(config(&json).args, json["args"]);
    }

    #[test]
    fn an_error_names_the_place() {
        let json = json!({"mappings": [{}, {"hostport": "x"}]});
        let error = decode::<Config>(&json).unwrap_err().to_string();
        assert_eq!(
            error,
            "mappings[1].hostPort: invalid type: string \"x\", expected a whole number of at least 0"
        );
        assert!(decode::<Config>(&json!({"ipMasq": "true"})).is_err());
        assert!(decode::<Config>(&json!({"big": 1.5})).is_err());
    }

    #[test]
    fn parse_takes_one_document_and_nothing_behind_it() {
        assert!(parse(b" {} \n").is_ok());
        for bytes in [
            &b""[..],
            b"{",
            b"{} {}",
            b"\xef\xbb\xbf{}",
            &[b'['; 100_000],
        ] {
            assert!(parse(bytes).is_err());
        }
        assert_eq!(parse(b"\"\xff\"").unwrap(), "\u{fffd}");
        assert_eq!(
            parse(br#"{"a":1,"a":2}"#).unwrap(),
            json!({"a": 2}),
            "the last counts"
        );
    }
}
