//! Container ID, interface name, network name: each can only be made by passing its check.
//!
//! The checks and their messages are those of the reference's library (`pkg/utils`), because
//! runtimes show them to users.

use std::fmt;
use std::str::FromStr;

use crate::error::{Code, Error};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// `CNI_CONTAINERID`: ASCII letters, digits, `_`, `.` and `-`, the first a letter or digit.
    ContainerId, container_id
}

name! {
    /// `CNI_IFNAME`: what the kernel takes as an interface name, 1 to 15 bytes.
    IfName, interface_name
}

name! {
    /// The `name` of a network configuration; the alphabet of [`ContainerId`].
    NetworkName, network_name
}

/// Which attachment a request is about, within its network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// The container.
    pub container_id: ContainerId,
    /// The interface inside it.
    pub ifname: IfName,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.ifname, self.container_id)
    }
}

fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn container_id(text: &str) -> Result<(), Error> {
    match text {
        "" => Err(Error::new(Code::UNKNOWN_CONTAINER, "missing containerID")),
        text if is_word(text) => Ok(()),
        text => Err(Error::environment("invalid characters in containerID").details(text)),
    }
}

fn network_name(text: &str) -> Result<(), Error> {
    match text {
        "" => Err(Error::config("missing network name")),
        text if is_word(text) => Ok(()),
        text => Err(Error::config("invalid characters found in network name").details(text)),
    }
}

fn interface_name(text: &str) -> Result<(), Error> {
    // IFNAMSIZ is 16 with the final NUL (linux/if.h), counted in bytes.
    const LONGEST: usize = 15;
    let refused = |msg: &str| Err(Error::environment(msg));
    match text {
        "" => refused("interface name is empty"),
        text if text.len() > LONGEST => Err(Error::environment("interface name is too long")
            .details("interface name should be less than 16 characters")),
        "." | ".." => refused("interface name is . or .."),
        text if text
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace()) =>
        {
            refused("interface name contains / or : or whitespace characters")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_id_is_one_plain_word() {
        for id in ["a", "0", "a..b", "a.b-c_", &"x".repeat(300)] {
            assert_eq!(id.parse::<ContainerId>().unwrap().as_str(), id);
            assert!(id.parse::<NetworkName>().is_ok());
        }
        for id in [
            "../x", "a/b", "é", "-a", ".a", "_a", "a\n", "\na", "a b", "a:b",
        ] {
            let error = id.parse::<ContainerId>().unwrap_err();
            assert_eq!(
                (error.code, error.details.as_str()),
                (Code::ENVIRONMENT, id)
            );
            assert_eq!(id.parse::<NetworkName>().unwrap_err().code, Code::CONFIG);
        }
        assert_eq!(
            "".parse::<ContainerId>().unwrap_err().code,
            Code::UNKNOWN_CONTAINER
        );
    }

    #[test]
    fn an_interface_name_is_what_the_kernel_takes() {
        for name in ["eth0", "a\"b", "*", "%d", "éé", &"x".repeat(15)] {
            assert!(name.parse::<IfName>().is_ok(), "{name:?}");
        }
        let long = "x".repeat(16);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\u{a0}b",
            "éééééééé",
            &long,
        ] {
            assert_eq!(
                name.parse::<IfName>().unwrap_err().code,
                Code::ENVIRONMENT,
                "{name:?}"
            );
        }
    }
}
