//! iptables, by one `iptables-save` to read and one `iptables-restore` to write.
//!
//! The host's own programs decide whether the rules are of the legacy or the nf_tables kind, and
//! an administrator's `iptables -S` shows them; so programs it is, but not one per rule. A
//! [`Script`] is applied whole or not at all (iptables-restore(8), COMMIT), waits a bounded time
//! for the xtables lock, and says everything about one address family.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sys::child::{StandardError, Terms, die_with_parent, keep_open, run};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallResult};

use crate::error::{Error, Obstacle, Result};
use crate::nftables::{self, Nftables};
use crate::rule::{Match, Rule, Test, Verdict};

/// Where the programs are looked for behind `PATH`, which a runtime may leave empty.
const DIRECTORIES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];
/// XT_MULTI_PORTS: how many ports one multiport match takes.
const MULTIPORT: usize = 15;
/// A table of a hundred thousand rules is 20 MB of text.
const OUTPUT: usize = 256 << 20;
/// Where the programs that we start queue; see [`turn`].
pub(crate) const QUEUE: &str = "/run/davit-cni/iptables.queue";
const QUEUES: &str = "/run/davit-cni";
const QUEUE_NAME: &str = "iptables.queue";

/// Which protocol's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    fn program(self, what: &str) -> String {
        match self {
            Self::Ipv4 => format!("iptables-{what}"),
            Self::Ipv6 => format!("ip6tables-{what}"),
        }
    }
}

/// One of the tables that all hosts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Table {
    #[default]
    Nat,
    Filter,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

/// The programs for one address family, and our patience with the xtables lock.
#[derive(Clone, Debug)]
pub struct Iptables {
    family: Family,
    table: Table,
    restore: PathBuf,
    save: PathBuf,
    patience: Duration,
}

/// What a table holds: the lines of `iptables-save`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved(Vec<String>);

/// A change of one table, `nat` unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    table: Table,
    lines: Vec<String>,
}

impl Iptables {
    /// The host's programs, for the `nat` table; `None` when it has none. `patience` bounds every wait for the lock.
    pub fn find(family: Family, patience: Duration) -> Option<Self> {
        let restore = find_program(&family.program("restore"))?;
        let save = find_program(&family.program("save"))?;
        Some(Self {
            family,
            table: Table::Nat,
            restore,
            save,
            patience,
        })
    }

    /// The same for another table.
    #[must_use]
    pub fn of(self, table: Table) -> Self {
        Self { table, ..self }
    }

    /// Which protocol's rules these programs change.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Reads the table.
    pub fn save(&self) -> Result<Saved> {
        let stdout = self.run(&self.save, &["-t", self.table.name()], "")?;
        Ok(Saved::parse(&String::from_utf8_lossy(&stdout)))
    }

    /// Makes a script true, whole or not at all.
    pub fn restore(&self, script: &Script) -> Result<()> {
        if script.lines.is_empty() {
            return Ok(());
        }
        let wait = self.patience.as_secs().max(1).to_string();
        self.run(
            &self.restore,
            &["--noflush", "--wait", &wait],
            &script.text(),
        )
        .map(drop)
    }

    /// Reads the table and makes the change that `plan` wants; see [`Iptables::update_from`].
    pub fn update(&self, plan: impl Fn(&Saved) -> Result<Script>) -> Result<()> {
        self.update_from(self.save()?, plan)
    }

    /// Makes the change that `plan` wants of a table that was `before`, and plans again from a
    /// fresh look if it was refused because the table is another by now (others have no lock that
    /// spans looking and writing).
    pub fn update_from(
        &self,
        mut before: Saved,
        plan: impl Fn(&Saved) -> Result<Script>,
    ) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            let Err(error) = self.restore(&plan(&before)?) else {
                return Ok(());
            };
            let now = self.save()?;
            if now.without_counters() == before.without_counters() {
                return Err(error);
            }
            before = now;
        }
        let obstacle = match turn(Duration::ZERO) {
            None if std::fs::metadata(QUEUE).is_ok() => Obstacle::Queue,
            _ => Obstacle::Changes,
        };
        Err(Error::Busy {
            program: self.restore.display().to_string(),
            waited: self.patience,
            obstacle,
        })
    }

    /// The first of these rules that the kernel does not have; `None` when it has them all.
    ///
    /// The program compares, because it alone knows how it would write a rule.
    pub fn first_missing<'a>(&self, rules: &'a [(String, Rule)]) -> Result<Option<&'a Rule>> {
        let mut script = Script::of(self.table);
        let mut rule_of_line = Vec::new();
        for (number, (chain, rule)) in rules.iter().enumerate() {
            script.command("-C", chain, rule)?;
            rule_of_line.resize(script.lines.len(), number);
        }
        let Err(error) = self.restore(&script) else {
            return Ok(None);
        };
        let Error::Program {
            stderr,
            status: Some(1 | 2 | 4),
            ..
        } = &error
        else {
            return Err(error);
        };
        // "line 3 failed": line 1 is the table's name, so the second line of ours.
        let line = line_number(stderr).and_then(|line| rule_of_line.get(line.checked_sub(2)?));
        let missing = line.and_then(|number| rules.get(*number));
        missing.map(|(_, rule)| Some(rule)).ok_or(error)
    }

    fn run(&self, program: &Path, arguments: &[&str], input: &str) -> Result<Vec<u8>> {
        // Beyond the lock's wait: exec and the kernel's own work on a large table.
        let time = self.patience + Duration::from_secs(20);
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        let turn = turn(self.patience);
        if let Some(turn) = &turn {
            // If we are killed, the next in the queue comes when the program is gone as well.
            let held = turn.as_fd().try_clone_to_owned();
            keep_open(&mut command, held.call(|| format!("dup({QUEUE})"))?);
        }
        // What it would do after our end, nobody would undo.
        die_with_parent(&mut command);
        let busy = |obstacle| Error::Busy {
            program: program.display().to_string(),
            waited: self.patience,
            obstacle: match turn {
                None if std::fs::metadata(QUEUE).is_ok() => Obstacle::Queue,
                _ => obstacle,
            },
        };
        let terms = Terms {
            stderr: StandardError::Collected,
            time,
            output: OUTPUT,
            excess: sys::child::Excess::Kills,
        };
        let done = match run(&mut command, input.as_bytes(), terms) {
            Err(error) if error.errno() == Errno::ETIMEDOUT => return Err(busy(Obstacle::Itself)),
            done => done?,
        };
        if done.status.success() {
            return Ok(done.stdout);
        }
        let stderr = String::from_utf8_lossy(&done.stderr)
            .trim()
            .replace('\n', "; ");
        // RESOURCE_PROBLEM of xshared.h, said only of the lock.
        if done.status.code() == Some(4) && stderr.contains("xtables lock") {
            return Err(busy(Obstacle::Lock));
        }
        let program = program.display().to_string();
        Err(Error::Program {
            program,
            status: done.status.code(),
            stderr,
        })
    }
}

/// A place in the queue before the programs. It protects nothing: who has waited long goes on
/// without. But the programs of the nf_tables kind begin again whenever another changes a rule
/// while they read, and of a hundred at once some would never come to an end.
fn turn(patience: Duration) -> Option<Lock> {
    let queues = Dir::open_or_create(QUEUES, 0o755).ok()?;
    let turn = queues.lock_in_turn(QUEUE_NAME, LockKind::Exclusive, patience);
    turn.ok()
}

/// Waits, before somebody looks what there is to remove, until no program is running that one of
/// us has started: who was killed may have left one that is about to write. Where none was ever
/// started there is nothing to wait for, and no longer than `patience` in any case.
pub fn await_programs(patience: Duration) {
    let Ok(queues) = Dir::open(QUEUES) else {
        return;
    };
    if queues.stat(QUEUE_NAME).is_ok() {
        drop(queues.lock_in_turn(QUEUE_NAME, LockKind::Shared, patience));
    }
}

/// Whether the kernel may hold a chain that is `wanted`, asked without starting a program.
///
/// True also where that cannot be known: legacy tables do not tell.
pub fn may_have_chain(
    nft: &mut Nftables,
    (family, table): (Family, Table),
    wanted: impl Fn(&str) -> bool,
) -> Result<bool> {
    if has_legacy_table(family, table) {
        return Ok(true);
    }
    let nft_family = match family {
        Family::Ipv4 => nftables::Family::Ipv4,
        Family::Ipv6 => nftables::Family::Ipv6,
    };
    let table = nftables::Table {
        family: nft_family,
        name: table.name(),
    };
    Ok(nft.chains(table)?.iter().any(|chain| wanted(chain)))
}

/// Whether the `nat` table is of the legacy kind, which the kernel's nftables does not know.
pub fn has_legacy_nat(family: Family) -> bool {
    has_legacy_table(family, Table::Nat)
}

fn has_legacy_table(family: Family, table: Table) -> bool {
    let names = match family {
        Family::Ipv4 => "/proc/self/net/ip_tables_names",
        Family::Ipv6 => "/proc/self/net/ip6_tables_names",
    };
    let legacy = std::fs::read_to_string(names).unwrap_or_default();
    legacy.lines().any(|name| name == table.name())
}

impl Saved {
    /// Reads what `iptables-save` says of one table.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// The lines that say what the table does: counters and time stamps differ at every look.
    fn without_counters(&self) -> Vec<&str> {
        let lines = self.0.iter().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split(" [").next().unwrap_or(line))
            .collect()
    }

    /// Whether there is such a chain.
    pub fn has_chain(&self, name: &str) -> bool {
        let declaration = format!(":{name} ");
        self.0.iter().any(|line| line.starts_with(&declaration))
    }

    /// The names of all chains.
    pub fn chains(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
    }

    /// The rules of all chains: chain, and the words behind it as they were written.
    pub fn rules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|line| line.strip_prefix("-A ")?.split_once(' '))
    }

    /// Where a chain has this rule, which must be one line and say nothing that the program writes
    /// in another way than we do.
    pub fn same<'a>(&'a self, chain: &'a str, rule: &Rule) -> Result<Vec<(&'a str, &'a str)>> {
        let line: Vec<_> = words_of(rule)?
            .iter()
            .map(|words| words.join(" "))
            .collect();
        let found = self
            .rules()
            .filter(|(name, words)| *name == chain && line == [*words]);
        Ok(found.collect())
    }

    /// The rules that jump or go to a chain.
    pub fn references<'a>(&'a self, target: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.rules()
            .filter(move |(_, words)| target_of(words) == Some(target))
    }
}

/// The chain or verdict at the end of a saved rule.
pub fn target_of(words: &str) -> Option<&str> {
    let mut words = words
        .split(' ')
        .skip_while(|word| !matches!(*word, "-j" | "-g"));
    words.nth(1)
}

/// The value behind an option of a saved rule, without quotes: `value_of(words, "--comment")`.
pub fn value_of(words: &str, option: &str) -> Option<String> {
    let start = words.find(&format!("{option} "))? + option.len() + 1;
    let rest = &words[start..];
    match rest.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => rest.split(' ').next().map(str::to_owned),
    }
}

/// What stands before the closing quote. A backslash of iptables-save makes the next character an
/// ordinary one.
fn unquoted(quoted: &str) -> Option<String> {
    let (mut value, mut rest) = (String::new(), quoted.chars());
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => value.push(rest.next()?),
            other => value.push(other),
        }
    }
}

impl Script {
    /// No change of this table yet.
    pub fn of(table: Table) -> Self {
        let lines = Vec::new();
        Self { table, lines }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Makes sure that a chain exists and is empty.
    pub fn fresh_chain(&mut self, name: &str) -> &mut Self {
        self.push(format!(":{name} - [0:0]"))
    }

    /// Makes a chain, or fails if it exists: another may have filled it since we looked.
    pub fn new_chain(&mut self, name: &str) -> &mut Self {
        self.push(format!("-N {name}"))
    }

    /// Removes a chain, or fails if it has rules or is jumped to: another may use it by now.
    pub fn delete_empty_chain(&mut self, name: &str) -> &mut Self {
        self.push(format!("-X {name}"))
    }

    /// Adds a rule (one per fifteen ports) at the end of a chain.
    pub fn append(&mut self, chain: &str, rule: &Rule) -> Result<&mut Self> {
        self.command("-A", chain, rule)
    }

    /// Adds a rule at the start of a chain.
    pub fn prepend(&mut self, chain: &str, rule: &Rule) -> Result<&mut Self> {
        self.command("-I", chain, rule)
    }

    /// Removes a rule as [`Saved::rules`] shows it.
    pub fn delete(&mut self, chain: &str, words: &str) -> &mut Self {
        self.push(format!("-D {chain} {words}"))
    }

    /// Removes a chain and its rules. Nothing may jump to it any more.
    pub fn delete_chain(&mut self, name: &str) -> &mut Self {
        self.push(format!("-F {name}")).push(format!("-X {name}"))
    }

    /// What `iptables-restore` reads.
    pub fn text(&self) -> String {
        let mut text = format!("*{}\n", self.table.name());
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("COMMIT\n");
        text
    }

    fn command(&mut self, verb: &str, chain: &str, rule: &Rule) -> Result<&mut Self> {
        for words in words_of(rule)? {
            self.push(format!("{verb} {chain} {}", words.join(" ")));
        }
        Ok(self)
    }

    fn push(&mut self, line: String) -> &mut Self {
        self.lines.push(line);
        self
    }
}

fn line_number(stderr: &str) -> Option<usize> {
    let rest = stderr.split("line ").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The words of a rule behind `-A CHAIN`, several times for many ports.
fn words_of(rule: &Rule) -> Result<Vec<Vec<String>>> {
    let mut lines = vec![Vec::new()];
    for condition in &rule.matches {
        let ways = ways_of(condition)?;
        lines = lines
            .iter()
            .flat_map(|line| ways.iter().map(|way| [line.as_slice(), way].concat()))
            .collect();
    }
    let mut tail = Vec::new();
    if !rule.comment.is_empty() {
        tail.extend(strings(["-m", "comment", "--comment"]));
        tail.push(quoted(&rule.comment)?);
    }
    tail.extend(verdict_words(&rule.verdict));
    lines
        .iter_mut()
        .for_each(|line| line.extend(tail.iter().cloned()));
    Ok(lines)
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn tested(test: Test, words: [&str; 2]) -> Vec<String> {
    let not = (test == Test::IsNot).then(|| "!".to_owned());
    not.into_iter().chain(strings(words)).collect()
}

/// The words of a condition; several alternatives for many ports.
fn ways_of(condition: &Match) -> Result<Vec<Vec<String>>> {
    let inexpressible = || {
        Err(Error::Inexpressible {
            back_end: "iptables",
            what: format!("{condition:?}"),
        })
    };
    Ok(vec![match condition {
        Match::Source(test, net) => tested(*test, ["-s", &net.to_string()]),
        Match::Destination(test, net) => tested(*test, ["-d", &net.to_string()]),
        Match::DestinationIsLocal => strings(["-m", "addrtype", "--dst-type", "LOCAL"]),
        Match::Ports(protocol, ports) => {
            let protocol = protocol.to_string();
            if let [port] = ports[..] {
                return Ok(vec![strings([
                    "-p",
                    &protocol,
                    "-m",
                    &protocol,
                    "--dport",
                    &port.to_string(),
                ])]);
            }
            let ways = ports.chunks(MULTIPORT).map(|ports| {
                let list: Vec<_> = ports.iter().map(u16::to_string).collect();
                strings([
                    "-p",
                    &protocol,
                    "-m",
                    "multiport",
                    "--dports",
                    &list.join(","),
                ])
            });
            return Ok(ways.collect());
        }
        Match::InputLink(test, name) => tested(*test, ["-i", &quoted(name)?]),
        Match::OutputLink(test, name) => tested(*test, ["-o", &quoted(name)?]),
        Match::Established | Match::EstablishedForXtables => {
            strings(["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"])
        }
        Match::MarkBits(bits) => strings(["-m", "mark", "--mark", &format!("{bits:#x}/{bits:#x}")]),
        Match::Words(words) => words
            .iter()
            .map(|word| quoted(word))
            .collect::<Result<_>>()?,
        Match::SourceMac(_) | Match::DestinationTranslated => return inexpressible(),
    }])
}

fn verdict_words(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Accept => strings(["-j", "ACCEPT"]),
        Verdict::Drop => strings(["-j", "DROP"]),
        Verdict::Return => strings(["-j", "RETURN"]),
        Verdict::Jump(chain) => strings(["-j", chain]),
        Verdict::Goto(chain) => strings(["-g", chain]),
        Verdict::Masquerade => strings(["-j", "MASQUERADE"]),
        Verdict::Dnat(IpAddr::V4(ip), port) => {
            strings(["-j", "DNAT", "--to-destination", &format!("{ip}:{port}")])
        }
        Verdict::Dnat(IpAddr::V6(ip), port) => {
            strings(["-j", "DNAT", "--to-destination", &format!("[{ip}]:{port}")])
        }
        Verdict::SetMarkBits(bits) => {
            strings(["-j", "MARK", "--set-xmark", &format!("{bits:#x}/{bits:#x}")])
        }
    }
}

/// A word as iptables-restore reads it; a line break would start a command of its own.
fn quoted(word: &str) -> Result<String> {
    if word.chars().any(char::is_control) {
        return Err(Error::Inexpressible {
            back_end: "iptables",
            what: format!("{word:?}"),
        });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,!+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.to_owned());
    }
    Ok(format!(
        "\"{}\"",
        word.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    let mut candidates = directories
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name));
    candidates.find(|file| {
        let found = std::fs::metadata(file);
        found.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Protocol;

    #[test]
    fn a_script_is_what_restore_reads() {
        let mut script = Script::default();
        let rule = Rule::new(
            vec![
                Match::Source(Test::IsNot, "10.1.0.0/16".parse().unwrap()),
                Match::Ports(Protocol::Tcp, (1..=16).collect()),
            ],
            Verdict::Jump("CNI-X".into()),
        )
        .comment("net: a b");
        script
            .fresh_chain("CNI-X")
            .append("CNI-HOSTPORT-DNAT", &rule)
            .unwrap();
        let dnat = Rule::new(
            vec![Match::Ports(Protocol::Udp, vec![53])],
            Verdict::Dnat("fd00::2".parse().unwrap(), 5353),
        );
        script.append("CNI-X", &dnat).unwrap().delete_chain("OLD");
        assert_eq!(
            script.text(),
            "*nat\n\
             :CNI-X - [0:0]\n\
             -A CNI-HOSTPORT-DNAT ! -s 10.1.0.0/16 -p tcp -m multiport \
             --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 \
             -m comment --comment \"net: a b\" -j CNI-X\n\
             -A CNI-HOSTPORT-DNAT ! -s 10.1.0.0/16 -p tcp -m multiport \
             --dports 16 -m comment --comment \"net: a b\" -j CNI-X\n\
             -A CNI-X -p udp -m udp --dport 53 -j DNAT --to-destination [fd00::2]:5353\n\
             -F OLD\n-X OLD\n\
             COMMIT\n"
        );
    }

    #[test]
    fn a_word_cannot_become_a_command() {
        let words = Match::Words(vec!["-s\n-F".into()]);
        let rule = Rule::new(vec![words], Verdict::Accept);
        assert!(Script::default().append("X", &rule).is_err());
        assert_eq!(quoted("a\"b\\").unwrap(), "\"a\\\"b\\\\\"");
    }

    #[test]
    fn saved_lines_are_read() {
        let lines = [
            "*nat",
            ":CNI-X - [0:0]",
            "-A POSTROUTING -s 10.1.0.2/32 -m comment --comment \"a b\" -j CNI-X",
        ];
        let saved = Saved(lines.map(str::to_owned).to_vec());
        assert!(saved.has_chain("CNI-X") && !saved.has_chain("CNI"));
        let (chain, words) = saved.references("CNI-X").next().unwrap();
        assert_eq!(chain, "POSTROUTING");
        assert_eq!(value_of(words, "--comment").as_deref(), Some("a b"));
        assert_eq!(value_of(words, "-s").as_deref(), Some("10.1.0.2/32"));
        let words = r#"-m comment --comment "name: \"a\" id: \"b\\c\"" -j CNI-X"#;
        let comment = value_of(words, "--comment");
        assert_eq!(comment.as_deref(), Some(r#"name: "a" id: "b\c""#));
        assert_eq!(value_of(r#"--comment "open"#, "--comment"), None);
    }
}
