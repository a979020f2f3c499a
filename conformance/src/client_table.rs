//! [`Table`]: what real clients can do with each runtime, operation by operation, as a page.
//!
//! `clients/operations.sh` writes one column, a directory named `MACHINE-RUNTIME` with a file for each
//! client; this joins any number of them. It runs nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The runtime that the others are measured by, on the same machine.
const PEER: &str = "runc";

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client did it.
    Works,
    /// It did not, and this was its complaint.
    DoesNot(String),
    /// This was missing.
    Skip(String),
}

/// One client's operation, in the order of the first column that has it.
type Operation = (String, String);

/// What one runtime did on one machine.
#[derive(Debug)]
pub struct Column {
    machine: String,
    runtime: String,
    /// What the machine is.
    place: String,
    /// Client, and a program that took part.
    versions: Vec<(String, String)>,
    verdicts: Vec<(Operation, Verdict)>,
}

impl Column {
    /// Of a directory's name and the text of its files.
    pub fn parse(stem: &str, text: &str) -> Result<Self, String> {
        let (machine, runtime) = stem
            .split_once('-')
            .ok_or_else(|| format!("{stem:?} is not called MACHINE-RUNTIME"))?;
        let mut column = Self {
            machine: machine.into(),
            runtime: runtime.into(),
            place: String::new(),
            versions: Vec::new(),
            verdicts: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('\t').collect();
            column
                .take(&words)
                .ok_or_else(|| format!("{stem}: line {}: {line:?} is no result", number + 1))?;
        }
        Ok(column)
    }

    fn take(&mut self, words: &[&str]) -> Option<()> {
        match *words {
            ["#", "machine", place] => self.place = place.into(),
            ["#", client, version] => self.versions.push((client.into(), version.into())),
            [client, operation, verdict, reason] => {
                let verdict = match verdict {
                    "works" => Verdict::Works,
                    "does not" => Verdict::DoesNot(reason.into()),
                    "skip" => Verdict::Skip(reason.into()),
                    _ => return None,
                };
                let operation = (client.into(), operation.into());
                self.verdicts.push((operation, verdict));
            }
            _ => return None,
        }
        Some(())
    }

    fn of(&self, operation: &Operation) -> Option<&Verdict> {
        let mut found = self.verdicts.iter().filter(|(of, _)| of == operation);
        found.next().map(|(_, verdict)| verdict)
    }

    fn title(&self) -> String {
        format!("{}: {}", self.machine, self.runtime)
    }

    /// How many of a client's operations work, do not, were skipped.
    fn totals(&self, client: &str) -> [usize; 3] {
        let mut totals = [0; 3];
        for (_, verdict) in self.verdicts.iter().filter(|((of, _), _)| of == client) {
            totals[match verdict {
                Verdict::Works => 0,
                Verdict::DoesNot(_) => 1,
                Verdict::Skip(_) => 2,
            }] += 1;
        }
        totals
    }
}

/// Columns beside each other.
#[derive(Debug)]
pub struct Table(Vec<Column>);

impl Table {
    /// Of columns in the order in which they are shown.
    pub fn new(columns: Vec<Column>) -> Self {
        Self(columns)
    }

    /// What does not work although it does with the peer on the same machine, one line each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for column in self.0.iter().filter(|column| column.runtime != PEER) {
            let peer = self
                .0
                .iter()
                .find(|peer| peer.runtime == PEER && peer.machine == column.machine);
            for (operation, verdict) in &column.verdicts {
                let Verdict::DoesNot(reason) = verdict else {
                    continue;
                };
                let shared = peer.and_then(|peer| peer.of(operation));
                if !matches!(shared, Some(Verdict::DoesNot(_))) {
                    let (client, operation) = operation;
                    faults.push(format!(
                        "{}: {client}: {operation}: {reason}",
                        column.title()
                    ));
                }
            }
        }
        faults
    }

    /// Clients in the order in which they were run, each with its operations.
    fn clients(&self) -> Vec<(&str, Vec<&Operation>)> {
        let mut clients: Vec<(&str, Vec<&Operation>)> = Vec::new();
        let all = self.0.iter().flat_map(|column| &column.verdicts);
        for (operation, _) in all {
            let client = operation.0.as_str();
            let place = clients.iter().position(|(name, _)| *name == client);
            let place = place.unwrap_or_else(|| {
                clients.push((client, Vec::new()));
                clients.len() - 1
            });
            let operations = &mut clients[place].1;
            if !operations.contains(&operation) {
                operations.push(operation);
            }
        }
        clients
    }

    /// The page.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# What real clients can do\n\nGenerated by `make test-clients` (host) and `make test-clients-vm` (guests); do not edit. Each client runs \
             the same operations with each runtime,\nunchanged, in a private host of its own; what an operation is stands in\n\
             `conformance/clients/operations/`. The columns of runc use the reference plugins, the others davit's.\n",
        );
        self.places(&mut text);
        let clients = self.clients();
        self.summary(&mut text, &clients);
        for (client, operations) in &clients {
            self.section(&mut text, client, operations);
        }
        text
    }

    fn places(&self, text: &mut String) {
        let places: BTreeMap<&str, &str> = self
            .0
            .iter()
            .map(|column| (column.machine.as_str(), column.place.as_str()))
            .collect();
        *text += "\n| machine | |\n|---|---|\n";
        for (machine, place) in places {
            let _ = writeln!(text, "| {machine} | {place} |");
        }
    }

    fn summary(&self, text: &mut String, clients: &[(&str, Vec<&Operation>)]) {
        *text += "\n| client | column | works | does not | skipped |\n|---|---|---:|---:|---:|\n";
        for (client, _) in clients {
            for column in &self.0 {
                let [works, not, skipped] = column.totals(client);
                if works + not + skipped > 0 {
                    let title = column.title();
                    let _ = writeln!(text, "| {client} | {title} | {works} | {not} | {skipped} |");
                }
            }
        }
    }

    fn section(&self, text: &mut String, client: &str, operations: &[&Operation]) {
        let _ = write!(text, "\n## {client}\n\n");
        let mut versions: Vec<&str> = Vec::new();
        for column in &self.0 {
            let own = column.versions.iter().filter(|(of, _)| of == client);
            versions.extend(own.map(|(_, version)| version.as_str()));
        }
        versions.sort_unstable();
        versions.dedup();
        let columns: Vec<&Column> = self.0.iter().collect();
        let titles: String = columns
            .iter()
            .map(|column| format!(" {} |", column.title()))
            .collect();
        let _ = write!(
            text,
            "With {}.\n\n| operation |{titles}\n|---|{}\n",
            versions.join("; "),
            "---|".repeat(columns.len())
        );
        for operation in operations {
            let _ = write!(text, "| {} |", operation.1);
            for column in &columns {
                let _ = write!(text, " {} |", cell(column.of(operation)));
            }
            text.push('\n');
        }
    }
}

fn cell(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Works) => "works".into(),
        Some(Verdict::DoesNot(reason)) => format!("does not: {}", escaped(reason)),
        Some(Verdict::Skip(reason)) => format!("skip: {}", escaped(reason)),
        None => String::new(),
    }
}

/// What a client said must neither end a cell nor become markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if matches!(character, '|' | '<' | '*' | '_' | '`' | '[') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(stem: &str, lines: &[&str]) -> Column {
        Column::parse(stem, &lines.join("\n")).unwrap()
    }

    fn table(davit: &[&str], runc: &[&str]) -> Table {
        Table::new(vec![column("host-davit", davit), column("host-runc", runc)])
    }

    #[test]
    fn what_the_peer_cannot_do_either_is_no_fault() {
        let shared = ["ctr\trun\tdoes not\tno room"];
        assert!(table(&shared, &shared).faults().is_empty());
        let faults = table(&shared, &["ctr\trun\tworks\t"]).faults();
        assert_eq!(faults, ["host: davit: ctr: run: no room"]);
    }

    #[test]
    fn what_the_peer_was_not_asked_is_a_fault() {
        let own = ["ctr\trun\tdoes not\tno room"];
        assert_eq!(table(&own, &[]).faults().len(), 1);
        assert_eq!(table(&own, &["ctr\trun\tskip\tno ctr"]).faults().len(), 1);
    }

    #[test]
    fn another_machine_excuses_nothing() {
        let not = ["ctr\trun\tdoes not\tno room"];
        let columns = vec![column("guest-davit", &not), column("host-runc", &not)];
        assert_eq!(Table::new(columns).faults().len(), 1);
    }

    #[test]
    fn a_line_that_is_no_result_is_named() {
        let error = Column::parse("host-runc", "ctr\trun\tworks\t\nctr\trun\tperhaps\t");
        assert!(error.unwrap_err().contains("line 2"));
        assert!(Column::parse("runc", "").is_err());
    }

    #[test]
    fn the_page_has_totals_versions_and_a_cell_for_each_column() {
        let page = table(
            &[
                "#\tmachine\tLinux 1",
                "#\tctr\tcontainerd 1",
                "ctr\trun\tworks\t",
            ],
            &[
                "#\tmachine\tLinux 1",
                "ctr\trun\tdoes not\ta|b",
                "ctr\tkill\tskip\tno ctr",
            ],
        )
        .markdown();
        for expected in [
            "| host | Linux 1 |",
            "| ctr | host: davit | 1 | 0 | 0 |",
            "| ctr | host: runc | 0 | 1 | 1 |",
            "With containerd 1.",
            "| run | works | does not: a\\|b |",
            "| kill |  | skip: no ctr |",
        ] {
            assert!(page.contains(expected), "no {expected:?} in\n{page}");
        }
    }
}
