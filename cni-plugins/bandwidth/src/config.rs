//! The limits: decoded, checked, and turned into buckets.
//!
//! Every refusal is here and names the key (code 7).

use cni::{Error, NetworkConfig};
use netlink::Bucket;
use serde::Deserialize;

/// What shall be limited; seen from the container, as the keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// What the container receives.
    pub(crate) ingress: Option<Limit>,
    /// What the container sends.
    pub(crate) egress: Option<Limit>,
}

/// A limit in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bits per second.
    rate: u64,
    /// Bits.
    burst: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
    runtime_config: RuntimeKeys,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeKeys {
    bandwidth: LimitKeys,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LimitKeys {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
}

/// How long a frame may wait in a bucket.
const LATENCY_PER_SECOND: u64 = 40; // 25 ms
/// Ethernet header and a VLAN tag, which count beside the MTU.
const FRAME_HEADER: u32 = 18;

impl Limits {
    /// Reads the limits. Those of the file count as a whole, if it has any, and otherwise those
    /// of the runtime.
    pub(crate) fn parse(config: &NetworkConfig) -> Result<Self, Error> {
        let keys: Keys = config.keys()?;
        let own = LimitKeys {
            ingress_rate: keys.ingress_rate,
            ingress_burst: keys.ingress_burst,
            egress_rate: keys.egress_rate,
            egress_burst: keys.egress_burst,
        };
        let all = [
            own.ingress_rate,
            own.ingress_burst,
            own.egress_rate,
            own.egress_burst,
        ];
        let (prefix, keys) = match all.iter().any(Option::is_some) {
            true => ("", own),
            false => ("runtimeConfig.bandwidth.", keys.runtime_config.bandwidth),
        };
        let ingress = ["ingressRate", "ingressBurst"].map(|key| format!("{prefix}{key}"));
        let egress = ["egressRate", "egressBurst"].map(|key| format!("{prefix}{key}"));
        Ok(Self {
            ingress: limit(ingress, keys.ingress_rate, keys.ingress_burst)?,
            egress: limit(egress, keys.egress_rate, keys.egress_burst)?,
        })
    }

    /// Whether nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn limit(
    [rate_key, burst_key]: [String; 2],
    rate: Option<u64>,
    burst: Option<u64>,
) -> Result<Option<Limit>, Error> {
    match (rate.unwrap_or_default(), burst.unwrap_or_default()) {
        (0, 0) => Ok(None),
        (_, 0) => Err(Error::config(format!(
            "{rate_key}: if rate is set, burst must also be set"
        ))),
        (0, _) => Err(Error::config(format!(
            "{burst_key}: if burst is set, rate must also be set"
        ))),
        (_, burst) if burst / 8 >= u64::from(u32::MAX) => Err(Error::config(format!(
            "{burst_key}: burst cannot be more than 4GB"
        ))
        .details(format!("{burst} bits"))),
        (rate, burst) => Ok(Some(Limit { rate, burst })),
    }
}

impl Limit {
    /// The bucket for a link with this MTU.
    ///
    /// The kernel counts whole bytes per second, so less than one becomes one. Of frames larger
    /// than the burst none would ever pass, so the burst is at least one frame.
    pub(crate) fn bucket(self, mtu: u32) -> Bucket {
        let rate = (self.rate / 8).max(1);
        // Less than 2^32 - 1, as `limit` saw to.
        let burst = u32::try_from(self.burst / 8).unwrap_or(u32::MAX);
        let burst = burst.max(mtu.saturating_add(FRAME_HEADER));
        let limit = (rate / LATENCY_PER_SECOND).saturating_add(burst.into());
        Bucket {
            rate,
            burst,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::config::Unchecked;

    fn parse(keys: &str) -> Result<Limits, Error> {
        let json = format!(r#"{{"name":"n","cniVersion":"1.1.0"{keys}}}"#);
        let config = Unchecked::parse(json.as_bytes()).unwrap();
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "STATUS".to_owned(),
                "CNI_PATH" => "/".to_owned(),
                _ => return None,
            })
        };
        let environment = cni::Environment::parse(lookup).unwrap().unwrap();
        match cni::Request::new(environment, config, cni::Version::ALL).unwrap() {
            cni::Request::Status(status) => Limits::parse(&status.invocation.config),
            other => panic!("{other:?}"),
        }
    }

    fn some(rate: u64, burst: u64) -> Option<Limit> {
        Some(Limit { rate, burst })
    }

    #[test]
    fn the_file_s_limits_count_as_a_whole() {
        let runtime = r#","runtimeConfig":{"bandwidth":{"IngressRate":8,"IngressBurst":16,
            "EgressRate":24,"EgressBurst":32}}"#;
        let limits = parse(runtime).unwrap();
        assert_eq!((limits.ingress, limits.egress), (some(8, 16), some(24, 32)));
        let own = r#","ingressRate":80,"ingressBurst":160"#;
        let limits = parse(&format!("{runtime}{own}")).unwrap();
        assert_eq!((limits.ingress, limits.egress), (some(80, 160), None));
        // Even a zero says that the file has something to say.
        let none = parse(&format!("{runtime}{}", r#","egressRate":0"#)).unwrap();
        assert!(none.is_empty() && parse("").unwrap().is_empty());
        // What containerd sends when nothing is said of bursts.
        let kubernetes = r#","ingressRate":1000000,"ingressBurst":4294967295"#;
        assert_eq!(
            parse(kubernetes).unwrap().ingress,
            some(1_000_000, 4_294_967_295)
        );
    }

    #[test]
    fn half_a_limit_and_too_large_a_burst_are_refused_by_name() {
        for (keys, key, text) in [
            (
                r#","ingressRate":8"#,
                "ingressRate",
                "if rate is set, burst must also be set",
            ),
            (
                r#","egressBurst":8"#,
                "egressBurst",
                "if burst is set, rate must also be set",
            ),
            (
                r#","egressRate":8,"egressBurst":34359738360"#,
                "egressBurst",
                "burst cannot be more than 4GB",
            ),
            (
                r#","runtimeConfig":{"bandwidth":{"ingressRate":8}}"#,
                "runtimeConfig.bandwidth.ingressRate",
                "burst must",
            ),
            (r#","ingressRate":-1"#, "ingressRate", "invalid"),
            (r#","ingressRate":"1""#, "ingressRate", "invalid"),
        ] {
            let error = parse(keys).unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{keys}");
            let named = error.msg.contains(key) && error.msg.contains(text);
            assert!(named, "{keys}: {error}");
        }
    }

    #[test]
    fn a_bucket_is_never_too_small_for_a_frame_nor_too_large_for_the_kernel() {
        let bucket = |rate, burst| Limit { rate, burst }.bucket(1500);
        let usual = bucket(8_000_000, 1_000_000);
        assert_eq!((usual.rate, usual.burst), (1_000_000, 125_000));
        assert_eq!(usual.limit, 25_000 + 125_000, "25 ms beside the burst");
        let tiny = bucket(7, 8);
        assert_eq!((tiny.rate, tiny.burst, tiny.limit), (1, 1518, 1518));
        let huge = bucket(2_000_000_000_000, 4_294_967_295);
        assert_eq!(
            (huge.rate, huge.burst, huge.limit),
            (250_000_000_000, 536_870_911, u32::MAX)
        );
    }
}
