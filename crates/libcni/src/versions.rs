//! Which versions of the specification a plugin speaks (SPEC 1.1.0 section 3, VERSION).

use cni::{Code, Command, Error, Version, go_json};
use serde_json::{Value, json};

use crate::invoke::{Call, Plugins};

/// What plugins say that are older than the command, word for word.
const BEFORE_VERSION: &str = "unknown CNI_COMMAND: VERSION";

impl Plugins {
    /// The versions that `plugin` speaks, oldest first. Texts that are no versions are passed over.
    pub fn versions(&self, plugin: &str) -> Result<Vec<Version>, Error> {
        let stdin = json!({"cniVersion": Version::NEWEST.to_string()}).to_string();
        match self.run(plugin, &Call::bare(Command::Version, stdin)) {
            Ok(stdout) => spoken(&stdout),
            Err(error) if error.msg == BEFORE_VERSION => Ok(vec![Version::V0_1_0]),
            Err(error) => Err(error),
        }
    }

    /// Of the versions that this suite speaks, those that all of `plugins` speak, oldest first.
    pub fn common_versions(&self, plugins: &[&str]) -> Result<Vec<Version>, Error> {
        let mut common = Version::ALL.to_vec();
        for plugin in plugins {
            let own = self.versions(plugin).map_err(|error| {
                let msg = format!("plugin {plugin}: VERSION: {}", error.msg);
                Error { msg, ..error }
            })?;
            common.retain(|version| own.contains(version));
        }
        Ok(common)
    }
}

fn spoken(stdout: &[u8]) -> Result<Vec<Version>, Error> {
    let wrong = |problem: String| Error::new(Code::DECODE, problem);
    let json = go_json::parse(stdout).map_err(|error| wrong(error.to_string()))?;
    let Some(versions) = json.get("supportedVersions").and_then(Value::as_array) else {
        // The first answers to VERSION had no list.
        return match json.get("cniVersion").and_then(Value::as_str) {
            Some("0.2.0") => Ok(vec![Version::V0_1_0, Version::V0_2_0]),
            _ => Err(wrong("no supportedVersions".into())),
        };
    };
    let texts = versions.iter().filter_map(Value::as_str);
    let mut versions: Vec<Version> = texts.filter_map(|text| text.parse().ok()).collect();
    versions.sort_unstable();
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_list_is_understood_only_of_the_first_version_that_could_answer() {
        let of = |text: &str| spoken(text.as_bytes()).map_err(|error| error.msg);
        assert_eq!(
            of(r#"{"supportedVersions": ["1.1.0", "x", "0.4.0", 7]}"#),
            Ok(vec![Version::V0_4_0, Version::V1_1_0])
        );
        let first = Ok(vec![Version::V0_1_0, Version::V0_2_0]);
        assert_eq!(of(r#"{"cniVersion": "0.2.0"}"#), first);
        assert_eq!(
            of(r#"{"cniVersion": "1.0.0"}"#),
            Err("no supportedVersions".into())
        );
        assert!(of("").is_err());
    }
}
