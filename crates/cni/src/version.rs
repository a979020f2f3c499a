//! Versions of the CNI specification: parsed, ordered, and the list that this suite implements.

use std::fmt;
use std::str::FromStr;

/// A version of the CNI specification, also one that nobody has written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    micro: u32,
}

impl Version {
    /// The first one; what an absent or empty `cniVersion` means.
    pub const V0_1_0: Self = Self::new(0, 1, 0);
    /// Brought the VERSION command.
    pub const V0_2_0: Self = Self::new(0, 2, 0);
    /// Brought interfaces and lists of addresses.
    pub const V0_3_0: Self = Self::new(0, 3, 0);
    /// Corrected a spelling in 0.3.0.
    pub const V0_3_1: Self = Self::new(0, 3, 1);
    /// Brought CHECK, and prevResult for DEL.
    pub const V0_4_0: Self = Self::new(0, 4, 0);
    /// Dropped `version` from addresses and single-plugin configuration files.
    pub const V1_0_0: Self = Self::new(1, 0, 0);
    /// Brought GC, STATUS, and more fields of interfaces and routes.
    pub const V1_1_0: Self = Self::new(1, 1, 0);

    /// Every version this suite speaks, oldest first.
    pub const ALL: &'static [Self] = &[
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest this suite speaks.
    pub const NEWEST: Self = Self::V1_1_0;

    const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self {
            major,
            minor,
            micro,
        }
    }

    /// Which result format this version has; results convert freely only inside one family.
    pub fn family(self) -> Family {
        match self {
            v if v < Self::V0_3_0 => Family::Ip4Ip6,
            v if v < Self::V1_0_0 => Family::Versioned,
            _ => Family::Current,
        }
    }
}

/// Versions that share a result format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 0.1.0 and 0.2.0: one `ip4` and one `ip6` block.
    Ip4Ip6,
    /// 0.3.0, 0.3.1 and 0.4.0: lists, each address with its `version`.
    Versioned,
    /// 1.0.0 and 1.1.0: lists.
    Current,
}

impl Family {
    /// The versions in it that this suite speaks.
    pub fn versions(self) -> impl Iterator<Item = Version> {
        Version::ALL
            .iter()
            .copied()
            .filter(move |version| version.family() == self)
    }
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version: expected up to three numbers with dots between")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    /// Up to three parts; missing ones are 0, and the empty text is 0.1.0.
    fn from_str(text: &str) -> std::result::Result<Self, NoVersion> {
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        let wrong = || NoVersion(text.to_owned());
        let mut parts = [0; 3];
        for (index, part) in text.split('.').enumerate() {
            let slot = parts.get_mut(index).ok_or_else(wrong)?;
            // parse() would also take a sign.
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *slot = part.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        }
        let [major, minor, micro] = parts;
        Ok(Self {
            major,
            minor,
            micro,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parts_are_zero_and_nothing_is_the_first_version() {
        for (text, expected) in [
            ("", Version::V0_1_0),
            ("1", Version::V1_0_0),
            ("1.1", Version::V1_1_0),
            ("0.3.1", Version::V0_3_1),
            ("9.9.9", Version::new(9, 9, 9)),
        ] {
            assert_eq!(text.parse::<Version>(), Ok(expected), "{text:?}");
        }
        for text in [
            "1.2.3.4",
            "v1.0.0",
            "1.",
            ".1",
            "1.x",
            "+1",
            "-1",
            " 1",
            "99999999999",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_printed_in_full() {
        assert!(Version::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!("0.10.0".parse::<Version>().unwrap() > Version::V0_4_0);
        assert_eq!("1".parse::<Version>().unwrap().to_string(), "1.0.0");
    }

    #[test]
    fn families_are_those_of_the_result_formats() {
        let of = |version: Version| version.family().versions().collect::<Vec<_>>();
        assert_eq!(of(Version::V0_2_0), [Version::V0_1_0, Version::V0_2_0]);
        assert_eq!(
            of(Version::V0_3_1),
            [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0]
        );
        assert_eq!(of(Version::V1_1_0), [Version::V1_0_0, Version::V1_1_0]);
    }
}
