//! nftables through the kernel's own interface (nfnetlink), without an `nft` process.
//!
//! A [`Transaction`] is one datagram between two batch markers: the kernel makes all of it true
//! at once, or none. Names that exist already are no error, and what a transaction must not find
//! changed it says ([`Transaction::unless_changed`]), so containers need no common lock.

use std::time::{Duration, Instant};

use netlink::attribute::{Writer, attributes, find, text};
use netlink::{Message, Socket};
use sys::Errno;

use crate::back_end::PATIENCE;
use crate::error::{Error, Result};
use crate::expression;
use crate::rule::{Rule, Verdict};

const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const NEWTABLE: u16 = SUBSYSTEM << 8;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
const DELCHAIN: u16 = SUBSYSTEM << 8 | 5;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
const GETRULE: u16 = SUBSYSTEM << 8 | 7;
const DELRULE: u16 = SUBSYSTEM << 8 | 8;
const GETGEN: u16 = SUBSYSTEM << 8 | 16;
const GENERATION: u16 = 1; // NFTA_GEN_ID and NFNL_BATCH_GENID
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const CREATE: u16 = 0x400; // NLM_F_CREATE
const APPEND: u16 = 0x800; // NLM_F_APPEND
const EXCLUSIVE: u16 = 0x200; // NLM_F_EXCL
const TABLE: u16 = 1; // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
const CHAIN_NAME: u16 = 3;
const CHAIN_POLICY: u16 = 5;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const COMMENT: u8 = 0; // NFTNL_UDATA_RULE_COMMENT: what nft(8) prints

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Family {
    Inet,
    Ipv4,
    Ipv6,
    Bridge,
}

impl Family {
    /// `NFPROTO_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Bridge => 7,
            Self::Ipv6 => 10,
        }
    }
}

/// A table by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Table {
    pub family: Family,
    pub name: &'static str,
}

/// A chain by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Chain {
    pub table: Table,
    pub name: String,
}

impl Table {
    /// A chain of this table.
    pub fn chain(self, name: impl Into<String>) -> Chain {
        Chain {
            table: self,
            name: name.into(),
        }
    }
}

/// Where the kernel enters a chain by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// Which hook.
    pub hook: Hook,
    /// Order among the chains of the hook: lower comes first.
    pub priority: i32,
}

/// The netfilter hooks that we use, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A rule that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The kernel's number for it, unique in its table.
    pub handle: u64,
    /// The chain it is in.
    pub chain: String,
    /// Its comment, empty without.
    pub comment: String,
    /// The rule with its comment, if it can be said with our words.
    pub rule: Option<Rule>,
}

impl Installed {
    /// The chain that the rule jumps or goes to.
    pub fn target(&self) -> Option<&str> {
        match &self.rule.as_ref()?.verdict {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    messages: Vec<Message>,
    unless_changed: bool,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Refused by the kernel if anybody has changed any rule since the plan was begun: for what
    /// depends on something that is *not* there. See [`Nftables::update`].
    pub fn unless_changed(&mut self) -> &mut Self {
        self.unless_changed = true;
        self
    }

    /// Makes sure that the table exists.
    pub fn table(&mut self, table: Table) -> &mut Self {
        let body = header(table.family).put_str(TABLE, table.name);
        self.push(NEWTABLE, CREATE, body)
    }

    /// Makes sure that the chain exists, with this hook if it is new.
    pub fn chain(&mut self, chain: &Chain, base: Option<Base>) -> &mut Self {
        let mut body = of_table(chain.table).put_str(CHAIN_NAME, &chain.name);
        if let Some(base) = base {
            let hook = Writer::default()
                .put_be32(1, base.hook as u32)
                .put_be32(2, base.priority as u32);
            body = body.put_nested(4, hook).put_str(7, base.kind);
        }
        self.push(NEWCHAIN, CREATE, body)
    }

    /// Makes a chain, which must not exist yet: who made it has filled it as well.
    pub fn new_chain(&mut self, chain: &Chain) -> &mut Self {
        let body = of_table(chain.table).put_str(CHAIN_NAME, &chain.name);
        self.push(NEWCHAIN, CREATE | EXCLUSIVE, body)
    }

    /// Removes all rules of a chain, which must exist.
    pub fn flush(&mut self, chain: &Chain) -> &mut Self {
        self.push(DELRULE, 0, of_chain(chain))
    }

    /// Adds a rule at the end of a chain.
    pub fn append(&mut self, chain: &Chain, rule: &Rule) -> Result<&mut Self> {
        self.rule(CREATE | APPEND, chain, rule)
    }

    /// Adds a rule at the start of a chain.
    pub fn prepend(&mut self, chain: &Chain, rule: &Rule) -> Result<&mut Self> {
        self.rule(CREATE, chain, rule)
    }

    fn rule(&mut self, flags: u16, chain: &Chain, rule: &Rule) -> Result<&mut Self> {
        let expressions = expression::write(rule, chain.table.family)?;
        let mut body = of_chain(chain).put_nested(RULE_EXPRESSIONS, expressions);
        if !rule.comment.is_empty() {
            body = body.put(RULE_USERDATA, &comment_bytes(&rule.comment));
        }
        Ok(self.push(NEWRULE, flags, body))
    }

    /// Removes one rule by its handle.
    pub fn delete(&mut self, table: Table, rule: &Installed) -> &mut Self {
        let chain = table.chain(&rule.chain);
        self.push(
            DELRULE,
            0,
            of_chain(&chain).put(RULE_HANDLE, &rule.handle.to_be_bytes()),
        )
    }

    /// Removes a chain that is empty and that nothing refers to.
    pub fn delete_chain(&mut self, chain: &Chain) -> &mut Self {
        self.push(
            DELCHAIN,
            0,
            of_table(chain.table).put_str(CHAIN_NAME, &chain.name),
        )
    }

    /// Removes a table with all that is in it.
    pub fn delete_table(&mut self, table: Table) -> &mut Self {
        self.push(DELTABLE, 0, of_table(table))
    }

    fn push(&mut self, kind: u16, flags: u16, body: Writer) -> &mut Self {
        self.messages.push(Message {
            kind,
            flags,
            body: body.into_bytes(),
        });
        self
    }
}

/// The kernel's nftables, of the namespace that the thread was in at [`Nftables::open`].
pub struct Nftables {
    socket: Socket,
    /// How often the plan at hand was made.
    tries: u32,
}

impl Nftables {
    /// Opens the kernel's interface.
    pub fn open() -> Result<Self> {
        Ok(Self {
            socket: Socket::netfilter()?,
            tries: 0,
        })
    }

    /// Makes a transaction true. `what` says what it is for: `install port mappings`.
    pub fn apply(&mut self, transaction: &Transaction, what: &str) -> Result<()> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.send(Writer::new(&batch_header()), transaction, what)
    }

    fn send(&mut self, begin: Writer, transaction: &Transaction, what: &str) -> Result<()> {
        let marker = |kind, body| Message {
            kind,
            flags: 0,
            body,
        };
        let begin = marker(BATCH_BEGIN, begin.into_bytes());
        let end = marker(BATCH_END, batch_header());
        let batch = std::iter::once(begin)
            .chain(transaction.messages.iter().cloned())
            .collect();
        Ok(self
            .socket
            .batch(batch, end, &format!("nftables: {what}"))?)
    }

    /// Makes what `plan` wants of the tables as they are, and plans again when they have become
    /// others meanwhile: what the plan refers to was removed, or it is
    /// [`Transaction::unless_changed`]. At each moment somebody's plan succeeds; who is overtaken
    /// for all of our patience gets [`Error::Overtaken`].
    pub fn update(
        &mut self,
        what: &str,
        mut plan: impl FnMut(&mut Self) -> Result<Transaction>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for tries in 1.. {
            self.tries = tries;
            let before = self.generation()?;
            let change = plan(self)?;
            if change.is_empty() {
                return Ok(());
            }
            let mut begin = Writer::new(&batch_header());
            if change.unless_changed {
                begin = begin.put(GENERATION, &before);
            }
            match self.send(begin, &change, what) {
                // Not a reason to plan again if it was true of the tables that the plan saw.
                Err(error) if self.generation()? == before => return Err(error),
                Err(_) if Instant::now() < deadline => std::thread::sleep(pause(tries)),
                Err(_) => break,
                done => return done,
            }
        }
        Err(Error::Overtaken {
            what: what.into(),
            waited: PATIENCE,
        })
    }

    /// As [`Nftables::update`], for who leaves. Two who leave at the same moment each see the
    /// other's rules, and keep what all share; so whoever changed something looks once more.
    pub fn leave(
        &mut self,
        what: &str,
        mut plan: impl FnMut(&mut Self) -> Result<Transaction>,
    ) -> Result<()> {
        let mut changed = false;
        self.update(what, |nft| {
            let change = plan(nft)?;
            changed |= !change.is_empty();
            Ok(change)
        })?;
        if changed {
            self.update(what, plan)
        } else {
            Ok(())
        }
    }

    /// Whether what nobody uses may still be removed. On a busy host it stays, after some tries:
    /// that takes a moment at which nobody else changes any rule, and the next to leave can do it.
    pub(crate) fn may_retire(&self) -> bool {
        self.tries <= 20
    }

    /// Plans to remove the rules of a table that are `wanted`, and the table itself when nothing
    /// stays but its `frame`: what is there for all. Answers the rules.
    pub fn plan_removal(
        &mut self,
        change: &mut Transaction,
        table: Table,
        wanted: impl Fn(&Installed) -> bool,
        frame: impl Fn(&Installed) -> bool,
    ) -> Result<Vec<Installed>> {
        let rules = self.rules(table)?;
        let (removed, rest): (Vec<_>, Vec<_>) = rules.into_iter().partition(wanted);
        let is_unused = rest.iter().all(frame);
        if is_unused
            && self.may_retire()
            && (!removed.is_empty() || !self.chains(table)?.is_empty())
        {
            // In one transaction: the kernel frees what was removed by one grace period.
            change.delete_table(table).unless_changed();
        } else {
            removed.iter().for_each(|rule| {
                change.delete(table, rule);
            });
        }
        Ok(removed)
    }

    /// Whether the kernel has nftables at all.
    pub fn is_there(&mut self) -> bool {
        self.generation()
            .is_ok_and(|generation| !generation.is_empty())
    }

    /// The number of the rule set: every change of any rule, by whomever, makes it another.
    pub fn generation(&mut self) -> Result<Vec<u8>> {
        let what = "nftables: read the generation";
        let message = Message {
            kind: GETGEN,
            flags: 0,
            body: vec![0; 4],
        };
        let answer = self.socket.lookup(message, what)?.unwrap_or_default();
        let attributes = answer.get(4..).unwrap_or_default();
        Ok(find(attributes, GENERATION).unwrap_or_default().to_vec())
    }

    /// The rules of a table, in order; none when there is no such table.
    pub fn rules(&mut self, table: Table) -> Result<Vec<Installed>> {
        let body = of_table(table);
        let what = format!("nftables: list the rules of {}", table.name);
        let entries = self.list(GETRULE, body, &what)?;
        Ok(entries
            .iter()
            .filter_map(|entry| installed(entry, table))
            .collect())
    }

    /// The names of a table's chains; none when there is no such table.
    pub fn chains(&mut self, table: Table) -> Result<Vec<String>> {
        let what = format!("nftables: list the chains of {}", table.name);
        let entries = self.list(GETCHAIN, of_table(table), &what)?;
        let of_this = |entry: &&[u8]| find(entry, TABLE).map(text).as_deref() == Some(table.name);
        Ok(entries
            .iter()
            .filter_map(|entry| entry.get(4..))
            .filter(of_this)
            .filter_map(|entry| find(entry, CHAIN_NAME).map(text))
            .collect())
    }

    /// Whether a table has a chain of this name.
    pub fn has_chain(&mut self, chain: &Chain) -> Result<bool> {
        Ok(self.find_chain(chain)?.is_some())
    }

    /// Whether a chain is there and drops what none of its rules accepts.
    pub fn drops_by_default(&mut self, chain: &Chain) -> Result<bool> {
        const NF_DROP: [u8; 4] = [0; 4];
        let found = self.find_chain(chain)?.unwrap_or_default();
        let attributes = found.get(4..).unwrap_or_default();
        Ok(find(attributes, CHAIN_POLICY) == Some(&NF_DROP))
    }

    fn find_chain(&mut self, chain: &Chain) -> Result<Option<Vec<u8>>> {
        let body = of_table(chain.table)
            .put_str(CHAIN_NAME, &chain.name)
            .into_bytes();
        let message = Message {
            kind: GETCHAIN,
            flags: 0,
            body,
        };
        Ok(self
            .socket
            .lookup(message, &format!("nftables: find chain {}", chain.name))?)
    }

    fn list(&mut self, kind: u16, body: Writer, what: &str) -> Result<Vec<Vec<u8>>> {
        let message = Message {
            kind,
            flags: 0,
            body: body.into_bytes(),
        };
        match self.socket.dump(message, what) {
            // No such table, or a kernel without nftables: nothing is installed.
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP)) => {
                Ok(Vec::new())
            }
            answer => Ok(answer?),
        }
    }
}

/// A random wait that grows: those who were overtaken together must not come back together.
fn pause(tries: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let most = 50 << tries.min(7); // microseconds: up to 6.4 ms
    Duration::from_micros(RandomState::new().hash_one(tries) % most)
}

fn header(family: Family) -> Writer {
    Writer::new(&[family.number(), 0, 0, 0]) // struct nfgenmsg
}

fn batch_header() -> Vec<u8> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    vec![0, 0, high, low]
}

fn of_table(table: Table) -> Writer {
    header(table.family).put_str(TABLE, table.name)
}

fn of_chain(chain: &Chain) -> Writer {
    of_table(chain.table).put_str(RULE_CHAIN, &chain.name)
}

/// libnftnl's encoding: type, length, and the text with its NUL.
fn comment_bytes(comment: &str) -> Vec<u8> {
    let text = comment.as_bytes();
    let mut bytes = vec![COMMENT, (text.len() + 1) as u8];
    bytes.extend(text);
    bytes.push(0);
    bytes
}

fn comment_of(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text(value));
        }
        rest = &tail[usize::from(*length)..];
    }
    None
}

fn installed(entry: &[u8], table: Table) -> Option<Installed> {
    if *entry.first()? != table.family.number() {
        return None;
    }
    let mut rule = Installed {
        handle: 0,
        chain: String::new(),
        comment: String::new(),
        rule: None,
    };
    let mut found_table = String::new();
    for (kind, value) in attributes(entry.get(4..)?) {
        match kind {
            TABLE => found_table = text(value),
            RULE_CHAIN => rule.chain = text(value),
            RULE_HANDLE => rule.handle = u64::from_be_bytes(value.try_into().ok()?),
            RULE_EXPRESSIONS => rule.rule = expression::read(value),
            RULE_USERDATA => rule.comment = comment_of(value).unwrap_or_default(),
            _ => {}
        }
    }
    if let Some(known) = &mut rule.rule {
        match rule.comment.as_str() {
            "" => rule.comment.clone_from(&known.comment),
            comment => known.comment = comment.to_owned(),
        }
    }
    (found_table == table.name).then_some(rule)
}

/// A rule in a table of any family.
#[cfg(fuzzing)]
pub(crate) fn understand(entry: &[u8]) {
    for family in [Family::Inet, Family::Ipv4, Family::Ipv6, Family::Bridge] {
        let _ = installed(entry, Table { family, name: "t" });
    }
    let _ = comment_of(entry);
    let values = attributes(entry.get(4..).unwrap_or_default());
    values.for_each(|(_, value)| expression::understand(value));
}
