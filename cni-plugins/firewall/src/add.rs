//! ADD: refuse, write down, make the rules.

use std::net::IpAddr;

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::nftables::Nftables;
use interface::{in_firewall, owner};
use netlink::sysctl;
use owner::Owner;

use crate::config::{BackEnd, FirewallConfig, addresses, bridge};
use crate::firewalld::{self, Firewalld, Kept};
use crate::record::{Policy, Record, Records};
use crate::{del, in_firewalld, iptables, nftables};

/// Everything about an attachment that its rules depend on.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a FirewallConfig,
    pub(crate) back_end: BackEnd,
    pub(crate) owner: &'a Owner,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) bridge: Option<(String, Policy)>,
}

/// Lets the container's traffic pass.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let config = FirewallConfig::parse(network)?;
    let previous = network.prev_result()?;
    let missing = || Error::config("missing prevResult from earlier plugin");
    let previous = previous.ok_or_else(missing)?;
    let owner = owner(&network.name, &request.attachment);
    let plan = Plan::new(
        &config,
        &owner,
        &previous,
        request.attachment.ifname.as_str(),
    )?;
    plan.refuse()?;
    let firewalld = match plan.back_end {
        BackEnd::Firewalld => {
            let connected = in_firewalld(Firewalld::connect(), || "ask firewalld".into());
            Some(connected?)
        }
        BackEnd::Rules(_) => None,
    };
    let before = Records::find()
        .and_then(|records| records.map_or(Ok(None), |records| records.read(&owner)))
        .attempt(Code::IO, || "read the record".into())?;
    claim.made();
    // An ADD after a lost DEL: what it had may be another container's by now.
    if let Some(before) = before.filter(|before| *before != plan.record()) {
        del::release(&before)?;
    }
    plan.note()?;
    plan.install(firewalld)?;
    Ok(previous)
}

impl<'a> Plan<'a> {
    /// Pure but for the back end, which may be whatever the host has.
    pub(crate) fn new(
        config: &'a FirewallConfig,
        owner: &'a Owner,
        previous: &cni::Result,
        ifname: &str,
    ) -> Result<Self, Error> {
        let with_policy = |policy| bridge(previous, policy).map(|name| (name, policy));
        Ok(Self {
            config,
            back_end: config.back_end(),
            owner,
            addresses: addresses(previous, ifname),
            bridge: config.policy.map(with_policy).transpose()?,
        })
    }

    /// What would not hold is not promised.
    fn refuse(&self) -> Result<(), Error> {
        if self.uses_iptables() && !iptables::is_there() {
            let msg = "could not initialize iptables protocol: iptables-restore is not installed";
            return Err(Error::new(Code::PLUGIN, msg).details("or set \"backend\": \"nftables\""));
        }
        let Some((bridge, policy)) = &self.bridge else {
            return Ok(());
        };
        if self.uses_iptables() {
            // Accepting without programs is accepting; isolating without them is a lie.
            if let Some(family) = iptables::lacking(&self.addresses).first() {
                let msg = format!("ingressPolicy {policy} of {bridge}: no program for {family:?}");
                let error = Error::new(Code::PLUGIN, msg);
                return Err(error.details("install iptables, or set \"backend\": \"nftables\""));
            }
        }
        match policy {
            Policy::Isolated => refuse_unfiltered(bridge),
            Policy::SameBridge => Ok(()),
        }
    }

    pub(crate) fn uses_iptables(&self) -> bool {
        self.back_end.of_rules() == firewall::BackEnd::Iptables
    }

    pub(crate) fn record(&self) -> Record {
        let is_firewalld = self.back_end == BackEnd::Firewalld;
        Record {
            network: self.owner.network.clone(),
            container: self.owner.container.clone(),
            ifname: self.owner.ifname.clone(),
            addresses: self.addresses.clone(),
            zone: is_firewalld.then(|| self.config.zone.clone()),
            bridge: self.bridge.as_ref().map(|(name, _)| name.clone()),
            iptables: self.uses_iptables(),
        }
    }

    fn note(&self) -> Result<(), Error> {
        let what = || format!("write down what {} gets", self.owner.container);
        let policy = self.bridge.as_ref().map(|(_, policy)| *policy);
        Records::note(&self.record(), policy).attempt(Code::IO, what)?;
        if self.back_end != BackEnd::Firewalld {
            return Ok(());
        }
        let kept = Kept {
            zone: self.config.zone.clone(),
            addresses: self.addresses.clone(),
        };
        kept.write(&self.owner.token()).attempt(Code::IO, what)
    }

    fn install(&self, firewalld: Option<Firewalld>) -> Result<(), Error> {
        let what = || format!("let the traffic of {} pass", self.owner.container);
        if let Some(mut firewalld) = firewalld {
            let records = Records::open().attempt(Code::IO, || "open the records".into())?;
            in_firewalld(firewalld::sweep(&mut firewalld, &records), || {
                "take back what earlier boots left in firewalld".into()
            })?;
            for ip in &self.addresses {
                in_firewalld(firewalld.add(&self.config.zone, *ip), what)?;
            }
            if self.bridge.is_none() {
                return Ok(());
            }
        }
        match self.uses_iptables() {
            true => in_firewall(self.for_iptables().install(), what),
            false => {
                let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
                in_firewall(self.for_nftables().install(&mut nft), what)
            }
        }
    }

    pub(crate) fn for_iptables(&self) -> iptables::Wanted<'_> {
        iptables::Wanted {
            addresses: &self.addresses,
            admin_chain: &self.config.admin_chain,
            bridge: self.bridge(),
        }
    }

    pub(crate) fn for_nftables(&self) -> nftables::Wanted<'_> {
        nftables::Wanted {
            owner: self.owner,
            addresses: match self.back_end {
                BackEnd::Firewalld => &[],
                BackEnd::Rules(_) => &self.addresses,
            },
            admin_chain: &self.config.admin_chain,
            bridge: self.bridge(),
        }
    }

    fn bridge(&self) -> Option<(&str, Policy)> {
        self.bridge
            .as_ref()
            .map(|(name, policy)| (&**name, *policy))
    }
}

/// What one port of a bridge sends another is filtered only if the kernel is told so.
fn refuse_unfiltered(bridge: &str) -> Result<(), Error> {
    let setting = "bridge/bridge-nf-call-iptables";
    if sysctl::read(setting).is_ok_and(|value| value == "1") {
        return Ok(());
    }
    let msg =
        format!("ingressPolicy isolated of {bridge}: frames inside a bridge are not filtered");
    let error = Error::new(Code::PLUGIN, msg);
    Err(error.details("load br_netfilter, and set net.bridge.bridge-nf-call-iptables to 1"))
}
