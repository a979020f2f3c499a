//! Policy routing rules: which table a packet is routed by (ip-rule(8)).
//!
//! Written as bytes; the types of netlink-packet-route would be larger than all of this.

use std::net::IpAddr;

use ipnet::IpNet;
use sys::Errno;

use crate::attribute::{Writer, attributes};
use crate::error::{Error, Result};
use crate::socket::{Message, Socket};

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const FIB_RULE_HDR: usize = 12;
const FR_ACT_TO_TBL: u8 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
/// FRA_DST, IIFNAME, FWMARK, FLOW, TUN_ID, OIFNAME, UID_RANGE, IP_PROTO, and both port ranges.
const NARROWING: [u16; 10] = [1, 3, 10, 11, 12, 17, 20, 22, 23, 24];
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A rule: packets from `source` are routed by `table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From whom; none means from everybody.
    pub source: Option<IpNet>,
    /// The table; none for a rule that does something else.
    pub table: Option<u32>,
    /// The lower, the earlier. None leaves it to the kernel: before all others but the local table.
    pub priority: Option<u32>,
    /// Who made it, in the numbers of `ip route`'s protocols (Linux 4.17); 0 is nobody.
    pub protocol: u8,
    /// Whether it is about some of the packets from there alone: to a network, with a mark, and
    /// so on. Only of rules that are there; such rules cannot be made here.
    pub is_narrow: bool,
}

impl Rule {
    fn family(&self) -> u8 {
        match self.source {
            Some(IpNet::V6(_)) => AF_INET6,
            _ => AF_INET,
        }
    }
}

impl Socket {
    /// Adds a rule; `EEXIST` when there is the same one with the same priority. Without a
    /// priority the kernel takes a free one, and never says so.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let message = message_of(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
        self.request(message, &format!("add {}", named(rule)))
    }

    /// Deletes a rule; false when it was gone already.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<bool> {
        match self.request(
            message_of(RTM_DELRULE, 0, rule),
            &format!("delete {}", named(rule)),
        ) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
            // A kernel without IPv6 has no rules of it either.
            Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All rules, IPv4 before IPv6, in the order in which they are asked.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let what = "list rules";
        let mut rules = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut body = vec![0; FIB_RULE_HDR];
            body[0] = family;
            let message = Message {
                kind: RTM_GETRULE,
                flags: 0,
                body,
            };
            match self.dump(message, what) {
                Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => {}
                bodies => {
                    for body in bodies? {
                        rules.push(parse(&body).ok_or_else(|| Error::malformed(what, "a rule"))?);
                    }
                }
            }
        }
        Ok(rules)
    }
}

fn named(rule: &Rule) -> String {
    let source = rule
        .source
        .map_or_else(|| "all".to_owned(), |source| source.to_string());
    match rule.table {
        Some(table) => format!("rule from {source} lookup {table}"),
        None => format!("rule from {source}"),
    }
}

fn message_of(kind: u16, flags: u16, rule: &Rule) -> Message {
    let mut header = [0; FIB_RULE_HDR];
    header[0] = rule.family();
    header[2] = rule.source.map_or(0, |source| source.prefix_len());
    header[7] = FR_ACT_TO_TBL;
    let mut body = Writer::new(&header);
    if let Some(source) = rule.source {
        body = match source.addr() {
            IpAddr::V4(ip) => body.put(FRA_SRC, &ip.octets()),
            IpAddr::V6(ip) => body.put(FRA_SRC, &ip.octets()),
        };
    }
    if let Some(table) = rule.table {
        body = body.put(FRA_TABLE, &table.to_ne_bytes());
    }
    if let Some(priority) = rule.priority {
        body = body.put(FRA_PRIORITY, &priority.to_ne_bytes());
    }
    if rule.protocol != 0 {
        body = body.put(FRA_PROTOCOL, &[rule.protocol]);
    }
    Message {
        kind,
        flags,
        body: body.into_bytes(),
    }
}

pub(crate) fn parse(body: &[u8]) -> Option<Rule> {
    let header = body.get(..FIB_RULE_HDR)?;
    let (length, table, action) = (header[2], header[4], header[7]);
    let mut rule = Rule {
        source: None,
        table: Some(table.into()),
        priority: None,
        protocol: 0,
        is_narrow: header[1] > 0 || header[3] > 0,
    };
    let number = |value: &[u8]| Some(u32::from_ne_bytes(value.try_into().ok()?));
    for (kind, value) in attributes(&body[FIB_RULE_HDR..]) {
        match kind {
            FRA_SRC => rule.source = IpNet::new(address(value)?, length).ok(),
            FRA_TABLE => rule.table = number(value),
            FRA_PRIORITY => rule.priority = number(value),
            FRA_PROTOCOL => rule.protocol = *value.first()?,
            _ => rule.is_narrow |= NARROWING.contains(&kind),
        }
    }
    if action != FR_ACT_TO_TBL {
        rule.table = None;
    }
    Some(rule)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
        .ok()
}
