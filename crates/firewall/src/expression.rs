//! A rule's matches and verdict as nftables expressions, written and read back.
//!
//! Only what [`Match`] and [`Verdict`] can say is read; any other rule is `None` and left alone.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink::Mac;
use netlink::attribute::{Writer, attributes, find, text};

use crate::error::{Error, Result};
use crate::nftables::Family;
use crate::rule::{Match, Protocol, Rule, Test, Verdict};

// linux/netfilter/nf_tables.h
const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;
const BASE_LINK: u32 = 0;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const DST_NAT: u32 = 1 << 5; // IPS_DST_NAT of nf_conntrack_common.h
const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2; // NF_CT_STATE_BIT of either
const LOCAL: u32 = 2; // RTN_LOCAL of rtnetlink.h
const DNAT: u32 = 1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const IFNAMSIZ: usize = 16;

/// The expressions of a rule, for `NFTA_RULE_EXPRESSIONS`.
pub(crate) fn write(rule: &Rule, family: Family) -> Result<Writer> {
    let mut list = List(Writer::default(), family);
    for condition in &rule.matches {
        list = list.condition(condition)?;
    }
    list.verdict(&rule.verdict).map(|list| list.0)
}

struct List(Writer, Family);

impl List {
    fn push(self, name: &str, data: Writer) -> Self {
        let expression = Writer::default()
            .put_str(EXPR_NAME, name)
            .put_nested(EXPR_DATA, data);
        Self(self.0.put_nested(LIST_ELEM, expression), self.1)
    }

    fn payload(self, base: u32, offset: usize, length: usize) -> Self {
        let data = Writer::default()
            .put_be32(1, REG_1)
            .put_be32(2, base)
            .put_be32(3, offset as u32)
            .put_be32(4, length as u32);
        self.push("payload", data)
    }

    fn meta(self, key: u32) -> Self {
        self.push(
            "meta",
            Writer::default().put_be32(2, key).put_be32(1, REG_1),
        )
    }

    fn mask(self, mask: &[u8]) -> Self {
        let data = Writer::default()
            .put_be32(1, REG_1)
            .put_be32(2, REG_1)
            .put_be32(3, mask.len() as u32)
            .put_nested(4, value(mask))
            .put_nested(5, value(&vec![0; mask.len()]));
        self.push("bitwise", data)
    }

    fn compare(self, test: Test, bytes: &[u8]) -> Self {
        let op = if test == Test::Is { 0 } else { 1 };
        let data = Writer::default()
            .put_be32(1, REG_1)
            .put_be32(2, op)
            .put_nested(3, value(bytes));
        self.push("cmp", data)
    }

    fn condition(self, condition: &Match) -> Result<Self> {
        Ok(match condition {
            Match::Source(test, net) => self.network(*test, *net, (12, 8)),
            Match::Destination(test, net) => self.network(*test, *net, (16, 24)),
            Match::DestinationIsLocal => {
                let data = Writer::default()
                    .put_be32(1, REG_1)
                    .put_be32(2, FIB_ADDRTYPE)
                    .put_be32(3, FIB_DADDR);
                self.push("fib", data)
                    .compare(Test::Is, &LOCAL.to_ne_bytes())
            }
            Match::Ports(protocol, ports) => {
                let [port] = ports[..] else {
                    return Err(inexpressible(condition));
                };
                self.meta(META_L4PROTO)
                    .compare(Test::Is, &[protocol.number()])
                    .payload(BASE_TRANSPORT, 2, 2)
                    .compare(Test::Is, &port.to_be_bytes())
            }
            Match::InputLink(test, name) => {
                self.meta(META_IIFNAME).compare(*test, &link_name(name))
            }
            Match::OutputLink(test, name) => {
                self.meta(META_OIFNAME).compare(*test, &link_name(name))
            }
            Match::Established => self.ct(CT_STATE, ESTABLISHED_OR_RELATED),
            Match::EstablishedForXtables => {
                let data = Writer::default()
                    .put_str(1, XT_CONNTRACK)
                    .put_be32(2, 3)
                    .put(3, &xt_established());
                self.push("match", data)
            }
            Match::SourceMac(mac) => self.payload(BASE_LINK, 6, 6).compare(Test::Is, &mac.0),
            Match::MarkBits(bits) => {
                let bytes = bits.to_ne_bytes();
                self.meta(META_MARK).mask(&bytes).compare(Test::Is, &bytes)
            }
            Match::DestinationTranslated => self.ct(CT_STATUS, DST_NAT),
            Match::Words(_) => return Err(inexpressible(condition)),
        })
    }

    /// Any of these bits of what connection tracking knows of the flow.
    fn ct(self, key: u32, bits: u32) -> Self {
        let data = Writer::default().put_be32(2, key).put_be32(1, REG_1);
        let loaded = self.push("ct", data).mask(&bits.to_ne_bytes());
        loaded.compare(Test::IsNot, &[0; 4])
    }

    /// `offsets`: where the address lies in an IPv4 and in an IPv6 header.
    fn network(self, test: Test, net: IpNet, offsets: (usize, usize)) -> Self {
        let (offset, bits, address, mask) = match net {
            IpNet::V4(net) => (
                offsets.0,
                32,
                octets(net.network().into()),
                octets(net.netmask().into()),
            ),
            IpNet::V6(net) => (
                offsets.1,
                128,
                octets(net.network().into()),
                octets(net.netmask().into()),
            ),
        };
        let list = match self.1 {
            Family::Inet => {
                let family = if bits == 32 {
                    Family::Ipv4
                } else {
                    Family::Ipv6
                };
                self.meta(META_NFPROTO)
                    .compare(Test::Is, &[family.number()])
            }
            _ => self,
        };
        let whole = u32::from(net.prefix_len()) / 8 * 8 == u32::from(net.prefix_len());
        let length = usize::from(net.prefix_len()) / 8;
        if whole && length > 0 {
            // As nft(8) does: a prefix of whole bytes needs no mask.
            return list
                .payload(BASE_NETWORK, offset, length)
                .compare(test, &address[..length]);
        }
        list.payload(BASE_NETWORK, offset, bits / 8)
            .mask(&mask)
            .compare(test, &address)
    }

    fn verdict(self, verdict: &Verdict) -> Result<Self> {
        Ok(match verdict {
            Verdict::Accept => self.immediate_verdict(ACCEPT, None),
            Verdict::Drop => self.immediate_verdict(DROP, None),
            Verdict::Return => self.immediate_verdict(RETURN, None),
            Verdict::Jump(chain) => self.immediate_verdict(JUMP, Some(chain)),
            Verdict::Goto(chain) => self.immediate_verdict(GOTO, Some(chain)),
            Verdict::Masquerade => self.push("masq", Writer::default()),
            Verdict::Dnat(ip, port) => self.dnat(*ip, *port),
            Verdict::SetMarkBits(_) => {
                let what = format!("{verdict:?}");
                return Err(Error::Inexpressible {
                    back_end: "nftables",
                    what,
                });
            }
        })
    }

    fn immediate(self, register: u32, data: Writer) -> Self {
        let data = Writer::default().put_be32(1, register).put_nested(2, data);
        self.push("immediate", data)
    }

    fn immediate_verdict(self, code: i32, chain: Option<&str>) -> Self {
        let mut verdict = Writer::default().put_be32(1, code as u32);
        if let Some(chain) = chain {
            verdict = verdict.put_str(2, chain);
        }
        self.immediate(
            REG_VERDICT,
            Writer::default().put_nested(DATA_VERDICT, verdict),
        )
    }

    fn dnat(self, ip: IpAddr, port: u16) -> Self {
        let family = if ip.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        let data = Writer::default()
            .put_be32(1, DNAT)
            .put_be32(2, family.number().into())
            .put_be32(3, REG_1)
            .put_be32(5, REG_2);
        self.immediate(REG_1, value(&octets(ip)))
            .immediate(REG_2, value(&port.to_be_bytes()))
            .push("nat", data)
    }
}

const XT_CONNTRACK: &str = "conntrack";

/// `struct xt_conntrack_mtinfo3` (linux/netfilter/xt_conntrack.h) for `--ctstate
/// RELATED,ESTABLISHED`, with its size rounded up as XT_ALIGN does.
fn xt_established() -> [u8; 168] {
    const MATCH_FLAGS: usize = 146;
    const STATE_MASK: usize = 150;
    const BY_STATE: u16 = 1;
    let mut info = [0; 168];
    info[MATCH_FLAGS..][..2].copy_from_slice(&BY_STATE.to_ne_bytes());
    info[STATE_MASK..][..2].copy_from_slice(&(ESTABLISHED_OR_RELATED as u16).to_ne_bytes());
    info
}

fn link_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(IFNAMSIZ, 0);
    bytes
}

fn value(bytes: &[u8]) -> Writer {
    Writer::default().put(DATA_VALUE, bytes)
}

fn inexpressible(condition: &Match) -> Error {
    Error::Inexpressible {
        back_end: "nftables",
        what: format!("{condition:?}"),
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// What a register holds while a rule is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Loaded {
    Payload(u32, u32, u32),
    Meta(u32),
    LocalType,
    Flow(u32),
}

#[derive(Default)]
struct Reader {
    loaded: Option<Loaded>,
    mask: Option<Vec<u8>>,
    values: [Option<Vec<u8>>; 3],
    protocol: Option<Protocol>,
    matches: Vec<Match>,
    verdict: Option<Verdict>,
    comment: String,
}

/// The rule that these expressions say, if it can be said with our words. A comment of nft(8) is not among them,
/// one of iptables is.
pub(crate) fn read(expressions: &[u8]) -> Option<Rule> {
    let mut reader = Reader::default();
    for (_, expression) in attributes(expressions) {
        let name = text(find(expression, EXPR_NAME)?);
        let data = find(expression, EXPR_DATA).unwrap_or_default();
        reader.expression(&name, data)?;
    }
    Some(Rule::new(reader.matches, reader.verdict?).comment(reader.comment))
}

impl Reader {
    fn expression(&mut self, name: &str, data: &[u8]) -> Option<()> {
        match name {
            "payload" => {
                let load = Loaded::Payload(be32(data, 2)?, be32(data, 3)?, be32(data, 4)?);
                self.load(load);
            }
            "meta" => {
                find(data, 1)?; // without a destination register it sets the key
                self.load(Loaded::Meta(be32(data, 2)?));
            }
            "fib" => {
                let local = be32(data, 2)? == FIB_ADDRTYPE && be32(data, 3)? == FIB_DADDR;
                local.then(|| self.load(Loaded::LocalType))?;
            }
            "ct" => {
                find(data, 1)?;
                self.load(Loaded::Flow(be32(data, 2)?));
            }
            "match" => self.xt_match(data)?,
            "bitwise" => self.mask = Some(find(find(data, 4)?, DATA_VALUE)?.to_vec()),
            "cmp" => self.compare(data)?,
            "immediate" => self.immediate(data)?,
            "nat" => self.nat(data)?,
            "masq" => self.verdict = Some(Verdict::Masquerade),
            "counter" => {}
            _ => return None,
        }
        Some(())
    }

    /// What iptables-nft writes where nftables would have words of its own.
    fn xt_match(&mut self, data: &[u8]) -> Option<()> {
        let info = find(data, 3)?;
        match (text(find(data, 1)?).as_str(), be32(data, 2)?) {
            ("comment", _) => self.comment = text(info),
            (XT_CONNTRACK, 3) if info.get(..162)? == &xt_established()[..162] => {
                self.matches.push(Match::EstablishedForXtables);
            }
            _ => return None,
        }
        Some(())
    }

    fn load(&mut self, loaded: Loaded) {
        self.loaded = Some(loaded);
        self.mask = None;
    }

    fn compare(&mut self, data: &[u8]) -> Option<()> {
        let test = match be32(data, 2)? {
            0 => Test::Is,
            1 => Test::IsNot,
            _ => return None,
        };
        let bytes = find(find(data, 3)?, DATA_VALUE)?;
        let found = match self.loaded.clone()? {
            // Implied by the address that follows it.
            Loaded::Meta(META_NFPROTO) => return Some(()),
            Loaded::Meta(META_L4PROTO) => {
                self.protocol = Some(Protocol::from_number(*bytes.first()?)?);
                return Some(());
            }
            Loaded::Meta(META_IIFNAME) => Match::InputLink(test, text(bytes)),
            Loaded::Meta(META_OIFNAME) => Match::OutputLink(test, text(bytes)),
            Loaded::Meta(META_MARK) => Match::MarkBits(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Loaded::Meta(_) => return None,
            Loaded::Flow(key) => self.flow(test, key)?,
            Loaded::LocalType => Match::DestinationIsLocal,
            Loaded::Payload(BASE_TRANSPORT, 2, 2) => {
                let port = u16::from_be_bytes(bytes.try_into().ok()?);
                Match::Ports(self.protocol?, vec![port])
            }
            Loaded::Payload(BASE_LINK, 6, 6) => Match::SourceMac(Mac(bytes.try_into().ok()?)),
            Loaded::Payload(BASE_NETWORK, offset, _) => self.network(test, offset, bytes)?,
            Loaded::Payload(..) => return None,
        };
        self.matches.push(found);
        Some(())
    }

    fn flow(&self, test: Test, key: u32) -> Option<Match> {
        let mask = self.mask.as_deref()?.try_into().ok()?;
        match (test, key, u32::from_ne_bytes(mask)) {
            (Test::IsNot, CT_STATUS, DST_NAT) => Some(Match::DestinationTranslated),
            (Test::IsNot, CT_STATE, ESTABLISHED_OR_RELATED) => Some(Match::Established),
            _ => None,
        }
    }

    fn network(&self, test: Test, offset: u32, bytes: &[u8]) -> Option<Match> {
        let (size, is_source) = match offset {
            12 => (4, true),
            16 => (4, false),
            8 => (16, true),
            24 => (16, false),
            _ => return None,
        };
        let prefix = match &self.mask {
            Some(mask) => mask.iter().map(|byte| byte.count_ones()).sum::<u32>(),
            None => 8 * bytes.len() as u32,
        };
        let mut full = bytes.to_vec();
        full.resize(size, 0);
        let net = IpNet::new(address(&full)?, u8::try_from(prefix).ok()?).ok()?;
        Some(if is_source {
            Match::Source(test, net)
        } else {
            Match::Destination(test, net)
        })
    }

    fn immediate(&mut self, data: &[u8]) -> Option<()> {
        let held = find(data, 2)?;
        if let Some(verdict) = find(held, DATA_VERDICT) {
            let chain = || find(verdict, 2).map(text);
            self.verdict = Some(match be32(verdict, 1)? as i32 {
                ACCEPT => Verdict::Accept,
                DROP => Verdict::Drop,
                RETURN => Verdict::Return,
                JUMP => Verdict::Jump(chain()?),
                GOTO => Verdict::Goto(chain()?),
                _ => return None,
            });
            return Some(());
        }
        // The kernel reports a 16-byte register by its number or by its first 4-byte one's.
        let register = match be32(data, 1)? {
            REG_1 | 8 => 1,
            REG_2 | 12 => 2,
            _ => return None,
        };
        self.values[register] = Some(find(held, DATA_VALUE)?.to_vec());
        Some(())
    }

    fn nat(&mut self, data: &[u8]) -> Option<()> {
        if be32(data, 1)? != DNAT {
            return None;
        }
        let ip = address(self.values[1].as_deref()?)?;
        let port = u16::from_be_bytes(self.values[2].as_deref()?.try_into().ok()?);
        self.verdict = Some(Verdict::Dnat(ip, port));
        Some(())
    }
}

fn be32(data: &[u8], kind: u16) -> Option<u32> {
    find(data, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// What we say as the kernel does is read as we said it.
#[cfg(fuzzing)]
pub(crate) fn understand(expressions: &[u8]) {
    let Some(rule) = read(expressions) else {
        return;
    };
    for family in [Family::Ipv4, Family::Ipv6, Family::Inet] {
        let Ok(written) = write(&rule, family) else {
            continue;
        };
        let again = read(&written.into_bytes()).map(|again| again.comment(rule.comment.clone()));
        assert_eq!(again.as_ref(), Some(&rule), "{family:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(matches: Vec<Match>, verdict: Verdict) {
        let rule = Rule::new(matches, verdict);
        let bytes = write(&rule, Family::Inet).unwrap().into_bytes();
        assert_eq!(read(&bytes), Some(rule));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        round_trip(
            vec![
                Match::Source(Test::Is, net("10.1.0.2/32")),
                Match::Destination(Test::IsNot, net("10.1.0.0/20")),
            ],
            Verdict::Masquerade,
        );
        round_trip(
            vec![
                Match::Source(Test::Is, net("fd00::2/128")),
                Match::Destination(Test::IsNot, net("fd00::/63")),
            ],
            Verdict::Goto("x".into()),
        );
        round_trip(
            vec![
                Match::DestinationIsLocal,
                Match::Ports(Protocol::Udp, vec![53]),
            ],
            Verdict::Dnat("fd00::9".parse().unwrap(), 5353),
        );
        round_trip(
            vec![
                Match::InputLink(Test::Is, "veth0".into()),
                Match::SourceMac("02:00:00:00:00:01".parse().unwrap()),
                Match::MarkBits(0x2000),
                Match::DestinationTranslated,
            ],
            Verdict::Drop,
        );
        round_trip(
            vec![
                Match::OutputLink(Test::IsNot, "fifteen-letters".into()),
                Match::Established,
                Match::EstablishedForXtables,
            ],
            Verdict::Accept,
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_on_the_way_in() {
        let ports = Match::Ports(Protocol::Tcp, vec![1, 2]);
        for condition in [ports, Match::Words(vec!["-s".into()])] {
            let rule = Rule::new(vec![condition], Verdict::Accept);
            assert!(matches!(
                write(&rule, Family::Ipv4),
                Err(Error::Inexpressible { .. })
            ));
        }
    }
}
