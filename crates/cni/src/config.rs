//! A plugin's network configuration: the JSON on its standard input.
//!
//! Here are the keys that the specification gives every plugin. A plugin's own keys are decoded
//! by [`NetworkConfig::keys`] into a type of its own.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Code, Error};
use crate::go_json;
use crate::names::{Attachment, NetworkName};
use crate::result::{Dns, Result as CniResult, version_of};
use crate::version::Version;

/// A network configuration whose name and version have been checked.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The network.
    pub name: NetworkName,
    /// The version it is written in, one that the plugin speaks.
    pub cni_version: Version,
    document: Value,
    text: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NameKey {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VersionKey {
    #[serde(rename = "cniVersion")]
    cni_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CommonKeys {
    dns: Dns,
    ipam: Option<Ipam>,
    #[serde(rename = "prevResult")]
    prev_result: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GcKeys {
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<ValidAttachment>>,
    #[serde(rename = "davit.dev/stale-before")]
    stale_before: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// GC's list of what is still alive; everything else in the network is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidAttachments(Vec<ValidAttachment>);

impl ValidAttachments {
    /// Whether this attachment is still alive.
    pub fn contains(&self, container_id: &str, ifname: &str) -> bool {
        self.0
            .iter()
            .any(|each| each.container_id == container_id && each.ifname == ifname)
    }

    /// Each as container id and interface name, for a plugin that knows its own by a hash.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|each| (each.container_id.as_str(), each.ifname.as_str()))
    }

    /// Whether any interface of this container is still alive.
    pub fn contains_container(&self, container_id: &str) -> bool {
        self.0.iter().any(|each| each.container_id == container_id)
    }

    /// A list of these, for a caller's tests and for a plugin that asks another.
    pub fn new<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Self {
        let entry = |each: &Attachment| ValidAttachment {
            container_id: each.container_id.to_string(),
            ifname: each.ifname.to_string(),
        };
        Self(attachments.into_iter().map(entry).collect())
    }
}

/// A configuration of which only the name has been read: its version is checked per verb.
#[derive(Clone, Debug)]
pub struct Unchecked {
    name: NetworkName,
    document: Value,
    text: String,
}

impl Unchecked {
    /// Decodes standard input and checks the network's name (codes 6 and 7).
    pub fn parse(stdin: &[u8]) -> Result<Self, Error> {
        let wrong = |error: String| {
            Error::new(
                Code::DECODE,
                format!("error unmarshall network config: {error}"),
            )
        };
        let document = go_json::parse(stdin).map_err(|error| wrong(error.to_string()))?;
        let NameKey { name } =
            go_json::decode(&document).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: name.parse()?,
            document,
            text: String::from_utf8_lossy(stdin).into_owned(),
        })
    }

    /// Whether this is a whole network list: `plugins` and no `type`.
    pub fn is_list(&self) -> bool {
        let has = |key: &str| self.document.get(key).is_some();
        has("plugins") && !has("type")
    }

    /// The `cniVersion` as it stands there; empty when absent.
    pub fn version_text(&self) -> Result<String, Error> {
        let VersionKey { cni_version } = go_json::decode(&self.document).map_err(|error| {
            Error::new(
                Code::DECODE,
                format!("decoding version from network config: {error}"),
            )
        })?;
        Ok(cni_version)
    }

    /// Accepts the configuration, written in `version`.
    pub(crate) fn accept(self, version: Version) -> NetworkConfig {
        NetworkConfig {
            name: self.name,
            cni_version: version,
            document: self.document,
            text: self.text,
        }
    }
}

impl NetworkConfig {
    /// Decodes the plugin's own keys; an ill-typed one is code 7, and the message names it.
    pub fn keys<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Error> {
        go_json::decode(&self.document).map_err(|error| {
            Error::config(format!(
                "network configuration {:?}: {error}",
                self.name.as_str()
            ))
        })
    }

    /// The whole document, as it came.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The text of the document, for those who must see that a key was given twice.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of the IPAM plugin; `None` when there is no `ipam`, or no type in it.
    pub fn ipam_type(&self) -> Result<Option<String>, Error> {
        let common: CommonKeys = self.keys()?;
        Ok(common
            .ipam
            .map(|ipam| ipam.r#type)
            .filter(|name| !name.is_empty()))
    }

    /// The configuration's `dns`.
    pub fn dns(&self) -> Result<Dns, Error> {
        Ok(self.keys::<CommonKeys>()?.dns)
    }

    /// The result of the plugins before this one (ADD) or of the whole list (CHECK, DEL).
    ///
    /// It is decoded in the configuration's version; a version of its own must be of the same
    /// family, or be absent.
    pub fn prev_result(&self) -> Result<Option<CniResult>, Error> {
        let json = self.keys::<CommonKeys>()?.prev_result;
        if json.is_null() {
            return Ok(None);
        }
        let context = |error: Error| error.context("could not parse prevResult");
        let family = self.cni_version.family();
        let own = version_of(&json)
            .map_err(context)?
            .unwrap_or(self.cni_version);
        if own.family() != family {
            let speaks: Vec<String> = family.versions().map(|each| each.to_string()).collect();
            return Err(Error::config(format!(
                "could not parse prevResult: result type supports [{}] but unmarshalled \
                 CNIVersion is \"{own}\"",
                speaks.join(" ")
            )));
        }
        CniResult::from_json(&json, self.cni_version)
            .map(Some)
            .map_err(context)
    }

    /// GC's list; `None` when the caller gave none, which is not the same as an empty list.
    pub fn valid_attachments(&self) -> Result<Option<ValidAttachments>, Error> {
        Ok(self.keys::<GcKeys>()?.valid.map(ValidAttachments))
    }

    /// GC's `davit.dev/stale-before`, in seconds since this boot: what is not valid and was not
    /// seen to be so before that stays, for its ADD may be under way. `None`: it goes at once.
    pub fn stale_before(&self) -> Result<Option<u64>, Error> {
        Ok(self.keys::<GcKeys>()?.stale_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str, version: Version) -> NetworkConfig {
        Unchecked::parse(json.as_bytes()).unwrap().accept(version)
    }

    fn refused(json: &str) -> Error {
        Unchecked::parse(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_cannot_be_decoded_is_code_6_and_a_bad_name_code_7() {
        for json in ["", "[]", "{", "\u{1}", r#"{"name":5}"#, "7", "\"x\""] {
            assert_eq!(refused(json).code, Code::DECODE, "{json:?}");
        }
        for json in ["null", "{}", r#"{"name":""}"#, r#"{"name":null}"#] {
            let error = refused(json);
            assert_eq!(
                (error.code, &*error.msg),
                (Code::CONFIG, "missing network name"),
                "{json}"
            );
        }
        let error = refused(r#"{"name":"../x"}"#);
        assert_eq!((error.code, &*error.details), (Code::CONFIG, "../x"));
    }

    #[test]
    fn prev_result_must_be_of_the_configurations_family() {
        for (own, config_version, fits) in [
            ("", Version::V0_4_0, true),
            (r#""cniVersion":"1.1.0","#, Version::V1_0_0, true),
            (r#""cniVersion":"0.3.0","#, Version::V0_4_0, true),
            (r#""CNIVersion":"1.0.0","#, Version::V0_4_0, false),
            (r#""cniVersion":"0.2.0","#, Version::V0_3_0, false),
            (r#""cniVersion":"?","#, Version::V1_0_0, false),
        ] {
            let json = format!(
                r#"{{"name":"n","prevResult":{{{own}"ips":[{{"address":"10.0.0.2/8"}}]}}}}"#
            );
            let result = config(&json, config_version).prev_result();
            assert_eq!(result.is_ok(), fits, "{json} {result:?}");
        }
        assert_eq!(
            config(r#"{"name":"n"}"#, Version::V1_0_0).prev_result(),
            Ok(None)
        );
    }

    #[test]
    fn a_missing_gc_list_is_not_an_empty_one() {
        let valid = |json: &str| config(json, Version::V1_1_0).valid_attachments();
        assert_eq!(valid(r#"{"name":"n"}"#), Ok(None));
        assert_eq!(
            valid(r#"{"name":"n","cni.dev/valid-attachments":null}"#),
            Ok(None)
        );
        let none = valid(r#"{"name":"n","cni.dev/valid-attachments":[]}"#)
            .unwrap()
            .unwrap();
        assert!(!none.contains("a", "eth0"));
        let one = r#"{"name":"n","cni.dev/valid-attachments":[{"containerID":"a","ifname":"e"}]}"#;
        let one = valid(one).unwrap().unwrap();
        assert!(one.contains("a", "e") && one.contains_container("a") && !one.contains("a", "f"));
        let wrong = r#"{"name":"n","cni.dev/valid-attachments":[{"containerID":"a"}]}"#;
        assert_eq!(
            valid(wrong).unwrap_err().code,
            Code::CONFIG,
            "half an entry frees nothing"
        );
    }

    #[test]
    fn common_keys_are_read_without_regard_to_case() {
        let config = config(
            r#"{"Name":"n","IPAM":{"Type":"host-local"},"DNS":{"domain":"d"},"cni.dev/x":1}"#,
            Version::V1_0_0,
        );
        assert_eq!(config.ipam_type().unwrap().as_deref(), Some("host-local"));
        assert_eq!(config.dns().unwrap().domain, "d");
        #[derive(Debug, Deserialize)]
        struct Own {
            #[allow(dead_code, reason = "only its type matters")]
            ipam: bool,
        }
        let error = config.keys::<Own>().unwrap_err();
        assert_eq!(error.code, Code::CONFIG);
        assert!(error.msg.contains("ipam: invalid type"), "{error}");
    }
}
