//! Keys of the configuration that several plugins have. Pure.

use cni::Error;
use firewall::BackEnd;
use netlink::Mac;

/// `mtu`: 0 means the kernel's choice.
pub fn mtu(mtu: i64) -> Result<Option<u32>, Error> {
    match u32::try_from(mtu) {
        Ok(0) => Ok(None),
        Ok(mtu @ 68..=65535) => Ok(Some(mtu)),
        _ => Err(Error::config(format!(
            "mtu: {mtu} is not between 68 and 65535"
        ))),
    }
}

/// `ipMasq` and `ipMasqBackend`. The back end is looked at only where it is used, as in the
/// reference.
pub fn masquerade(wanted: bool, back_end: &str) -> Result<Option<BackEnd>, Error> {
    match back_end {
        _ if !wanted => Ok(None),
        "" => Ok(Some(BackEnd::automatic())),
        name => match name.parse() {
            Ok(back_end) => Ok(Some(back_end)),
            Err(()) => Err(Error::config(format!("unknown ipmasq backend {name:?}"))),
        },
    }
}

/// An Ethernet address from the first of these places (name and text) that is not empty.
pub fn mac(sources: &[(&str, &str)]) -> Result<Option<Mac>, Error> {
    let Some((key, text)) = sources.iter().find(|(_, text)| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|error| Error::config(format!("{key}: {error}")))
}
