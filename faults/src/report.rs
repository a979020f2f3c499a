//! Starts the workers, adds up what they say, and prints it: findings at once, a table at the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use crate::Arguments;

/// One line of a worker; nothing in it may end it early.
pub(crate) fn tell(fields: &[&str]) {
    let clean: Vec<String> = fields
        .iter()
        .map(|field| field.replace(['\n', '\t'], " "))
        .collect();
    println!("{}", clean.join("\t"));
}

#[derive(Debug, Default)]
struct Row {
    points: usize,
    injections: usize,
    missed: usize,
    seconds: usize,
    found: BTreeMap<String, usize>,
    skipped: Option<String>,
}

/// Whether nothing was wrong.
pub(crate) fn direct(arguments: &Arguments) -> Result<bool, String> {
    if arguments.list {
        for operation in crate::operations::wanted(arguments.only.as_deref()) {
            println!("{}", operation.name);
        }
        return Ok(true);
    }
    if arguments.choice.every > 1 {
        println!("every {}th injection", arguments.choice.every);
    }
    let started = Instant::now();
    let (sender, lines) = mpsc::channel();
    let mut workers: Vec<Child> = Vec::new();
    for number in 0..arguments.choice.workers {
        let mut worker = worker(number, arguments)?;
        let stdout = worker.stdout.take().ok_or("a worker without an output")?;
        let sender = sender.clone();
        std::thread::spawn(move || forward(stdout, &sender));
        workers.push(worker);
    }
    drop(sender);
    let mut rows: Vec<(String, Row)> = Vec::new();
    for line in lines {
        take(&line, &mut rows);
    }
    let mut well = true;
    for mut worker in workers {
        let status = worker.wait().map_err(|error| format!("wait: {error}"))?;
        well &= status.success();
    }
    for number in 0..arguments.choice.workers {
        crate::world::forget_cgroups(&cgroup(number));
    }
    println!("\n{}", table(&rows));
    let wrong: usize = rows.iter().flat_map(|(_, row)| row.found.values()).sum();
    let injections: usize = rows.iter().map(|(_, row)| row.injections).sum();
    println!(
        "faults: {injections} injections, {wrong} findings, {} s",
        started.elapsed().as_secs()
    );
    if !well {
        println!("a worker has failed");
    }
    Ok(well && wrong == 0 && injections > 0)
}

/// Two of these harnesses may run at a time.
fn cgroup(number: usize) -> String {
    format!("faults-{}-{number}", std::process::id())
}

fn forward(stdout: ChildStdout, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = sender.send(line);
    }
}

/// Its own namespaces; the pid namespace ends with it, and all in it.
fn worker(number: usize, arguments: &Arguments) -> Result<Child, String> {
    let mut command = in_private_host()?;
    command.arg("--worker").arg(number.to_string());
    command.arg("--cgroup").arg(cgroup(number));
    command.args(std::env::args_os().skip(1));
    // After what was typed, so that both say the same.
    command
        .arg("--workers")
        .arg(arguments.choice.workers.to_string());
    command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE");
    command
        .spawn()
        .map_err(|error| format!("setpriv (util-linux): {error}"))
}

/// This program as the first process of new namespaces, which end with it.
pub(crate) fn in_private_host() -> Result<Command, String> {
    let this = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    // Nor may they outlive this program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    command.args(["-m", "-n", "-i", "-p", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "--propagation", "private"]);
    command.arg(this);
    Ok(command)
}

fn take(line: &str, rows: &mut Vec<(String, Row)>) {
    let fields: Vec<&str> = line.split('\t').collect();
    let [what, name, rest @ ..] = fields.as_slice() else {
        println!("{line}");
        return;
    };
    let index = rows
        .iter()
        .position(|row| row.0 == *name)
        .unwrap_or_else(|| {
            rows.push(((*name).to_owned(), Row::default()));
            rows.len() - 1
        });
    let row = &mut rows[index].1;
    match (*what, rest) {
        ("found", [point, fault, kind, text]) => {
            *row.found.entry((*kind).to_owned()).or_default() += 1;
            let fault = match *fault {
                "kill" | "kill-all" => format!("--{fault}"),
                errno => format!("--errno {errno}"),
            };
            println!("{kind}: {text}\n    faults --only {name} --point {point} {fault}");
        }
        ("done", numbers) => {
            let number = |index: usize| {
                numbers
                    .get(index)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(0usize)
            };
            row.points = row.points.max(number(0));
            row.injections += number(1);
            row.missed += number(2);
            row.seconds = row.seconds.max(number(3));
            println!(
                "{name}: {} points, {} injections in {} s",
                number(0),
                number(1),
                number(3)
            );
        }
        ("skip", [reason]) => {
            println!("SKIP: {name}: {reason}");
            row.skipped = Some((*reason).to_owned());
        }
        ("unknown", [call]) => println!("{name}: {call} is not in the table of errnos"),
        _ => println!("{line}"),
    }
}

fn table(rows: &[(String, Row)]) -> String {
    let mut text = String::from(
        "| operation | points | injections | leaks | hangs | weakened | unclear | missed | s |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut total = Row::default();
    for (name, row) in rows {
        if row.skipped.is_some() && row.injections == 0 {
            text += &format!("| {name} | skipped | | | | | | | |\n");
            continue;
        }
        text += &line(name, row);
        total.points += row.points;
        total.injections += row.injections;
        total.missed += row.missed;
        total.seconds += row.seconds;
        for (kind, number) in &row.found {
            *total.found.entry(kind.clone()).or_default() += number;
        }
    }
    text + &line("all", &total)
}

fn line(name: &str, row: &Row) -> String {
    let found = |kind: &str| row.found.get(kind).copied().unwrap_or(0);
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.points,
        row.injections,
        found("leak"),
        found("hang"),
        found("weakened"),
        found("unclear"),
        row.missed,
        row.seconds
    )
}
