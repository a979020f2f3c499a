//! STATUS: code 50 when the back end is not there.

use cni::{Code, Error, StatusRequest};
use firewall::nftables::Nftables;

use crate::config::{BackEnd, FirewallConfig};
use crate::firewalld::Firewalld;
use crate::iptables;

/// Asks the back end that an ADD would use.
pub(crate) fn status(request: &StatusRequest) -> Result<(), Error> {
    let config = FirewallConfig::parse(&request.invocation.config)?;
    let missing = match config.back_end() {
        BackEnd::Firewalld => Firewalld::connect().err().map(|error| error.to_string()),
        BackEnd::Rules(firewall::BackEnd::Iptables) => {
            (!iptables::is_there()).then(|| "iptables-restore is not installed".to_owned())
        }
        BackEnd::Rules(firewall::BackEnd::Nftables) => match Nftables::open() {
            Ok(mut nft) => (!nft.is_there()).then(|| "the kernel has no nftables".to_owned()),
            Err(error) => Some(error.to_string()),
        },
    };
    match missing {
        None => Ok(()),
        Some(why) => Err(Error::new(Code::NOT_AVAILABLE, "no packet filter").details(why)),
    }
}
