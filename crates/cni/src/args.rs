//! `CNI_ARGS`: `KEY=VALUE` pairs with semicolons between, in the reference's strict grammar.

use crate::error::Error;

/// The pairs of a `CNI_ARGS` that a plugin understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

impl Args {
    /// Reads `text`; keys outside `known` are an error unless `IgnoreUnknown=1` is among them.
    ///
    /// Keys match exactly. A piece without exactly one `=` (so also a trailing `;`) is an error.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, Error> {
        let pairs = pairs(text)?;
        if !ignores_unknown(&pairs)? {
            let unknown: Vec<String> = pairs
                .iter()
                .filter(|(key, _)| *key != IGNORE_UNKNOWN && !known.contains(key))
                .map(|(key, value)| format!("\"{key}={value}\""))
                .collect();
            if !unknown.is_empty() {
                let msg = format!("ARGS: unknown args [{}]", unknown.join(" "));
                let remedy = "CNI_ARGS: leave it out, or add IgnoreUnknown=1";
                return Err(Error::environment(msg).details(remedy));
            }
        }
        let kept = pairs.into_iter().filter(|(key, _)| known.contains(key));
        Ok(Self(
            kept.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        ))
    }

    /// The value of `key`; the last one if it was given twice.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(';')
        .map(|piece| match piece.split_once('=') {
            Some((key, value)) if !value.contains('=') => Ok((key, value)),
            _ => Err(Error::environment(format!("ARGS: invalid pair {piece:?}"))),
        })
        .collect()
}

fn ignores_unknown(pairs: &[(&str, &str)]) -> Result<bool, Error> {
    let mut ignores = false;
    for (_, value) in pairs.iter().filter(|(key, _)| *key == IGNORE_UNKNOWN) {
        ignores = match value.to_ascii_lowercase().as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => {
                let msg = format!("ARGS: {IGNORE_UNKNOWN}={value} is neither true nor false");
                return Err(Error::environment(msg));
            }
        };
    }
    Ok(ignores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_need_ignore_unknown() {
        let error = Args::parse("FOO=1;IP=10.0.0.1", &["IP"]).unwrap_err();
        assert_eq!(error.msg, r#"ARGS: unknown args ["FOO=1"]"#);
        for text in [
            "IgnoreUnknown=1;FOO=1;IP=10.0.0.1",
            "FOO=1;IP=10.0.0.1;IgnoreUnknown=TRUE",
        ] {
            assert_eq!(
                Args::parse(text, &["IP"]).unwrap().value("IP"),
                Some("10.0.0.1")
            );
        }
        assert!(Args::parse("IgnoreUnknown=false;FOO=1", &[]).is_err());
        assert!(Args::parse("IgnoreUnknown=maybe", &[]).is_err());
    }

    #[test]
    fn a_piece_is_exactly_one_pair() {
        for text in [";", "IP=1;", "IP", "IP=a=b", "IP=1;;MAC=2"] {
            assert!(Args::parse(text, &["IP", "MAC"]).is_err(), "{text:?}");
        }
        assert_eq!(Args::parse("", &[]).unwrap(), Args::default());
        let twice = Args::parse("IP=1;IP=2", &["IP"]).unwrap();
        assert_eq!((twice.value("IP"), twice.value("ip")), (Some("2"), None));
    }
}
