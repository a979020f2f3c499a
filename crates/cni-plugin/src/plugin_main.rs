//! The protocol around a plugin: variables and configuration in, one JSON document out.
//!
//! Promises, each with its test:
//! - standard output carries exactly one document (ADD, VERSION, any error) or nothing;
//! - standard input is read at most to a bound;
//! - the plugin's own network namespace is refused as the container's *before* anything changes;
//! - an ADD that fails after its claim, also in printing, is undone, and the first error told;
//! - a panic is still one error document and an exit status, not a signal.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use cni::config::Unchecked;
use cni::{
    AddRequest, Attempt, Code, Command, DelRequest, Environment, Error, Invocation, Request,
    Version,
};
use serde_json::{Value, json};
use sys::NetNs;

use crate::log::Log;
use crate::plugin::{Claim, Plugin};

/// The version in the banner of every plugin.
///
/// It is a number of its own above the reference suite's 1.x, because clients compare it with the
/// reference's: nerdctl wants `firewall` >= 1.7.1 before it uses `ingressPolicy: isolated`.
pub const SUITE_VERSION: &str = "v2.0.0";

/// 60,000 valid attachments, GC's longest list in practice, are 7 MiB.
const LONGEST_STDIN: u64 = 16 << 20;

/// VERSION may be asked by hand with a terminal as standard input, which never ends.
const VERSION_PATIENCE: Duration = Duration::from_millis(100);

/// The `main` of a plugin.
pub fn plugin_main<P: Plugin>() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| report_panic(P::NAME, panic)));
    sys::signal::hear_of_children();
    let lookup = |name: &str| {
        let value = std::env::var_os(name)?;
        // What is no UTF-8 fails its check later, with the replacement character visible.
        Some(value.to_string_lossy().into_owned())
    };
    let succeeded = |success: bool| match success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if let Some(text) = asked_by_hand::<P>(&lookup) {
        return succeeded(print(&mut Unbuffered, text.as_bytes()).is_ok());
    }
    if let Some(done) = sent::<P>(&lookup) {
        return succeeded(done);
    }
    if let Some(word) = misunderstood::<P>(&lookup) {
        let usage = format!("{}\n{word}: not understood; try --help\n", banner::<P>());
        let _ = std::io::stderr().write_all(usage.as_bytes()); // nobody else could be told
        return ExitCode::FAILURE;
    }
    let stdin = std::io::stdin();
    succeeded(serve::<P>(
        lookup,
        stdin,
        &mut Unbuffered,
        &mut std::io::stderr(),
    ))
}

/// Release builds abort on panic, so this is the last code that runs.
#[allow(
    clippy::disallowed_methods,
    reason = "abort would follow, which skips destructors as well and looks like a crash"
)]
fn report_panic(name: &str, panic: &std::panic::PanicHookInfo<'_>) {
    let error = Error::new(Code::INTERNAL, format!("{name}: defect in the plugin"))
        .details(panic.to_string().replace('\n', ": "));
    let document = pretty(&error.to_json(Version::NEWEST));
    // Nobody is left to tell if the print fails.
    let _ = Unbuffered.write_all(&document);
    std::process::exit(1)
}

/// What goes out, and where.
enum Answer {
    /// To a person: nobody set `CNI_COMMAND`.
    Banner,
    Versions(Value),
    Nothing,
    Attached(Box<Attached>),
}

/// An ADD that succeeded and is not told yet.
struct Attached {
    request: AddRequest,
    claim: Claim,
    result: Value,
}

/// An error and the version of the configuration it belongs to.
struct Failure {
    error: Error,
    version: Version,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            version: Version::NEWEST,
        }
    }
}

/// The whole protocol; true for exit status 0.
fn serve<P: Plugin>(
    lookup: impl Fn(&str) -> Option<String>,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> bool {
    let mut log = Log::new(stderr, P::NAME, &lookup);
    let printed = respond::<P>(lookup, stdin, &mut log).and_then(|answer| match answer {
        Answer::Banner => {
            log.plain(&banner::<P>());
            Ok(())
        }
        Answer::Nothing => {
            log.ended(Ok(()));
            Ok(())
        }
        Answer::Versions(json) => Ok(print(stdout, format!("{json}\n").as_bytes())?),
        Answer::Attached(attached) => {
            let printed = print(stdout, &pretty(&attached.result));
            if printed.is_ok() {
                log.ended(Ok(()));
            }
            printed.map_err(|error| {
                undo::<P>(&attached.request, &attached.claim, &mut log);
                Failure {
                    error,
                    version: attached.request.invocation.config.cni_version,
                }
            })
        }
    });
    let Err(Failure { error, version }) = printed else {
        return true;
    };
    log.ended(Err(&error));
    if let Err(unprinted) = print(stdout, &pretty(&error.to_json(version))) {
        log.trouble(&format!("{error}; {unprinted}"));
    }
    false
}

/// The answer to `--help` and `--version`. A runtime gives no arguments; if it sets a command,
/// arguments are not looked at, as in the reference.
fn asked_by_hand<P: Plugin>(lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    if lookup("CNI_COMMAND").is_some_and(|command| !command.is_empty()) {
        return None;
    }
    // As one of many in an executable it may be called by its name as the first word.
    let mut words = std::env::args_os().skip(1);
    let word = words.next()?;
    let word = if word == P::NAME { words.next()? } else { word };
    match word.to_str()? {
        "--help" | "-h" | "help" => Some(banner::<P>() + "\n" + &P::MANUAL.help(P::NAME)),
        "--version" | "-V" => Some(banner::<P>() + "\n"),
        _ => None,
    }
}

/// A word that was neither a question nor an errand: a service file with a slip in it must not look well.
fn misunderstood<P: Plugin>(lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    if lookup("CNI_COMMAND").is_some_and(|command| !command.is_empty()) {
        return None;
    }
    let mut words = std::env::args_os().skip(1);
    let word = words.next()?;
    let word = if word == P::NAME { words.next()? } else { word };
    Some(word.to_string_lossy().into_owned())
}

/// Whether the plugin's errand succeeded, if this process was started for one.
fn sent<P: Plugin>(lookup: impl Fn(&str) -> Option<String>) -> Option<bool> {
    if lookup("CNI_COMMAND").is_some_and(|command| !command.is_empty()) {
        return None;
    }
    let arguments = std::env::args_os().skip(1).map(|word| word.into_string());
    let arguments: Vec<_> = arguments.collect::<Result<_, _>>().ok()?;
    let done = P::errand(&arguments)?;
    if let Err(error) = &done {
        // Nobody is left to tell if the print fails.
        let _ = print(&mut Unbuffered, &pretty(&error.to_json(Version::NEWEST)));
    }
    Some(done.is_ok())
}

fn banner<P: Plugin>() -> String {
    let versions: Vec<String> = P::VERSIONS.iter().map(Version::to_string).collect();
    let name = P::NAME;
    format!(
        "CNI {name} plugin {SUITE_VERSION}\nCNI protocol versions supported: {}",
        versions.join(", ")
    )
}

fn respond<P: Plugin>(
    lookup: impl Fn(&str) -> Option<String>,
    stdin: impl Read + Send + 'static,
    log: &mut Log<'_>,
) -> Result<Answer, Failure> {
    let Some(environment) = Environment::parse(lookup)? else {
        return Ok(Answer::Banner);
    };
    if environment.command() == Some(Command::Version) {
        return Ok(Answer::Versions(versions::<P>(stdin)));
    }
    let config = Unchecked::parse(&read(stdin)?)?;
    refuse_list(&config)?;
    let version = config
        .version_text()
        .ok()
        .and_then(|text| text.parse().ok());
    let version = version
        .filter(|own| P::VERSIONS.contains(own))
        .unwrap_or(Version::NEWEST);
    let in_version = |error| Failure { error, version };
    let request = Request::new(environment, config, P::VERSIONS).map_err(in_version)?;
    log.network(request.invocation().config.name.as_str());
    execute::<P>(request, log).map_err(in_version)
}

/// A whole list given to one plugin is a slip of the hand, and would look like an empty
/// configuration.
fn refuse_list(config: &Unchecked) -> Result<(), Error> {
    if config.is_list() {
        let msg = "this is a list of plugins, not the configuration of one";
        return Err(Error::config(msg).details("plugins: run it with davit-cni add NETWORK NETNS"));
    }
    Ok(())
}

fn execute<P: Plugin>(request: Request, log: &mut Log<'_>) -> Result<Answer, Error> {
    match &request {
        Request::Add(add) => refuse_own_netns(&add.invocation, &add.netns)?,
        Request::Del(DelRequest {
            invocation,
            netns: Some(netns),
            ..
        }) => {
            refuse_own_netns(invocation, netns)?;
        }
        _ => {}
    }
    match request {
        Request::Add(add) => return attach::<P>(add, log),
        Request::Del(del) => P::del(&del)?,
        Request::Check(check) => P::check(&check)?,
        Request::Gc(gc) => P::gc(&gc)?,
        Request::Status(status) => P::status(&status)?,
    }
    Ok(Answer::Nothing)
}

/// ADD, undone if it fails after its claim.
fn attach<P: Plugin>(request: AddRequest, log: &mut Log<'_>) -> Result<Answer, Error> {
    let mut claim = Claim::default();
    let version = request.invocation.config.cni_version;
    let before = before::<P>(&request.invocation.config)?;
    let added = P::add(&request, &mut claim);
    let added = added.and_then(|result| result.after(before).to_json(version));
    let result = added.inspect_err(|_| undo::<P>(&request, &claim, log))?;
    for warning in claim.warnings() {
        log.trouble(&format!("warning: {warning}"));
    }
    Ok(Answer::Attached(Box::new(Attached {
        request,
        claim,
        result,
    })))
}

/// What the plugins before this one answered, for one that does not look at it. A list has more
/// than one plugin since 0.3.0.
fn before<P: Plugin>(config: &cni::NetworkConfig) -> Result<cni::Result, Error> {
    let has_any = P::ANSWERS_ITS_OWN && config.cni_version >= Version::V0_3_0;
    let previous = if has_any { config.prev_result()? } else { None };
    Ok(previous.unwrap_or_default())
}

/// Without a claim there is nothing of this ADD: what is there belongs to an earlier one, which
/// may have given it to a living container.
fn undo<P: Plugin>(add: &AddRequest, claim: &Claim, log: &mut Log<'_>) {
    if !claim.is_made() {
        return;
    }
    if let Err(error) = P::undo(add, claim) {
        log.trouble(&format!("undo of ADD for {}: {error}", add.attachment));
    }
}

/// `/proc/<pid>/ns/net` of a process number that was reused can be the host's namespace, where
/// ADD and DEL would change the host itself.
fn refuse_own_netns(invocation: &Invocation, netns: &str) -> Result<(), Error> {
    if invocation.allows_own_netns() {
        return Ok(());
    }
    // One that cannot be opened is not ours; what to make of it is the verb's business.
    let Ok(theirs) = NetNs::open(netns) else {
        return Ok(());
    };
    let ours = NetNs::current()
        .and_then(|ours| ours.is_same(&theirs))
        .attempt(Code::INTERNAL, || {
            format!("compare netns {netns:?} with the plugin's")
        })?;
    if ours {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(Error::new(Code::NETNS, msg).details(netns));
    }
    Ok(())
}

/// The answer is in the caller's version ("VERSION", SPEC 1.1.0), if it gave one that we speak.
fn versions<P: Plugin>(stdin: impl Read + Send + 'static) -> Value {
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the process: nobody can take back a blocked read.
    // Without it nothing was asked.
    let _ = std::thread::Builder::new().spawn(move || sender.send(read(stdin)));
    let asked = receiver
        .recv_timeout(VERSION_PATIENCE)
        .ok()
        .and_then(Result::ok);
    let asked = asked.and_then(|bytes| cni::go_json::parse(&bytes).ok());
    let asked = asked.and_then(|json| cni::result::version_of(&json).ok().flatten());
    let newest = P::VERSIONS.last().copied().unwrap_or(Version::NEWEST);
    let version = asked
        .filter(|version| P::VERSIONS.contains(version))
        .unwrap_or(newest);
    let supported: Vec<String> = P::VERSIONS.iter().map(Version::to_string).collect();
    json!({"cniVersion": version.to_string(), "supportedVersions": supported})
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = stdin.take(LONGEST_STDIN + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::new(Code::IO, format!("error reading from stdin: {error}")))?;
    if bytes.len() as u64 > LONGEST_STDIN {
        let msg = format!("error reading from stdin: more than {LONGEST_STDIN} bytes");
        return Err(Error::new(Code::IO, msg));
    }
    Ok(bytes)
}

/// Standard output, a whole document in one write(2). Rust's own buffers what follows the last
/// newline: where that second write fails, the error would come behind nearly all of a result.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(nix::unistd::write(std::io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// SIGPIPE is ignored by Rust's start-up code, so a reader that has gone is an error here.
fn print(stdout: &mut impl Write, document: &[u8]) -> Result<(), Error> {
    stdout
        .write_all(document)
        .and_then(|()| stdout.flush())
        .map_err(|error| Error::new(Code::IO, format!("error writing to stdout: {error}")))
}

/// Four spaces and no final newline, as the reference prints.
fn pretty(json: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // A Value has only text keys and Vec takes every byte, so this cannot fail.
    let _ = serde::Serialize::serialize(json, &mut serializer);
    bytes
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use cni::{CheckRequest, GcRequest, StatusRequest};

    use super::*;
    use crate::Manual;

    thread_local! {
        static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn note(call: impl Into<String>) {
        CALLS.with_borrow_mut(|calls| calls.push(call.into()));
    }

    /// Does what the network's name says.
    struct Actor;

    impl Plugin for Actor {
        const NAME: &'static str = "actor";
        const MANUAL: Manual = Manual {
            summary: "does what the network's name says",
            description: "",
            keys: &[],
            example: "{}",
        };

        fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
            note("ADD");
            let name = request.invocation.config.name.as_str();
            if name == "taken" {
                return Err(Error::new(Code::PLUGIN, "taken"));
            }
            if name != "repeated" {
                claim.made();
            }
            let result = r#"{"ips":[{"address":"10.0.0.2/8"}]}"#;
            let result = serde_json::from_str(result).unwrap();
            match name {
                "breaks" | "breaks-twice" => Err(Error::new(Code::TRY_AGAIN, "later")),
                "layer2" => Ok(cni::Result::default()),
                _ => cni::Result::from_json(&result, Version::NEWEST),
            }
        }

        fn del(request: &DelRequest) -> Result<(), Error> {
            note(format!("DEL {} {:?}", request.attachment, request.netns));
            match request.invocation.config.name.as_str() {
                "breaks-twice" => Err(Error::new(Code::INTERNAL, "stuck")),
                _ => Ok(()),
            }
        }

        fn check(_: &CheckRequest) -> Result<(), Error> {
            note("CHECK");
            Ok(())
        }

        fn gc(request: &GcRequest) -> Result<(), Error> {
            note(format!("GC {}", request.valid.is_some()));
            Ok(())
        }

        fn status(_: &StatusRequest) -> Result<(), Error> {
            Err(Error::new(Code::NOT_AVAILABLE, "full"))
        }
    }

    struct Run {
        success: bool,
        stdout: String,
        stderr: String,
        calls: Vec<String>,
    }

    impl Run {
        fn json(&self) -> Value {
            serde_json::from_str(&self.stdout).expect("one document")
        }

        fn code(&self) -> u64 {
            assert!(!self.success);
            self.json()["code"].as_u64().unwrap()
        }
    }

    fn run(variables: &[(&str, &str)], stdin: &str) -> Run {
        run_printing_to(&mut Vec::new(), variables, stdin)
    }

    fn run_printing_to(
        stdout: &mut (impl Write + AsRef<[u8]>),
        variables: &[(&str, &str)],
        stdin: &str,
    ) -> Run {
        const DEFAULTS: [(&str, &str); 4] = [
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/nonexistent"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nonexistent"),
        ];
        let lookup = |name: &str| {
            let mut all = variables.iter().chain(&DEFAULTS);
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let mut stderr = Vec::new();
        let stdin = std::io::Cursor::new(stdin.to_owned());
        let success = serve::<Actor>(lookup, stdin, stdout, &mut stderr);
        Run {
            success,
            stdout: String::from_utf8(stdout.as_ref().to_vec()).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            calls: CALLS.take(),
        }
    }

    fn config(name: &str) -> String {
        format!(r#"{{"name":"{name}","cniVersion":"1.1.0"}}"#)
    }

    const UNDONE: &str = r#"DEL eth0 of c1 Some("/nonexistent")"#;

    #[test]
    fn without_a_command_the_banner_goes_to_stderr() {
        let run = run(&[], "");
        assert!(run.success && run.stdout.is_empty());
        let expected = "CNI actor plugin v2.0.0\n\
            CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n";
        assert_eq!(run.stderr, expected);
    }

    #[test]
    fn version_answers_in_the_callers_version() {
        for (stdin, expected) in [
            ("", "1.1.0"),
            ("garbage", "1.1.0"),
            (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
            (r#"{"cniVersion":"9.9.9"}"#, "1.1.0"),
        ] {
            let run = run(&[("CNI_COMMAND", "VERSION")], stdin);
            assert!(run.success && run.stdout.ends_with("}\n"));
            assert_eq!(run.json()["cniVersion"], expected, "{stdin:?}");
            assert_eq!(run.json()["supportedVersions"].as_array().unwrap().len(), 7);
        }
    }

    #[test]
    fn version_does_not_wait_for_a_stdin_that_never_ends() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let only = |name: &str| (name == "CNI_COMMAND").then(|| "VERSION".to_owned());
        assert!(serve::<Actor>(
            only,
            reader,
            &mut Vec::new(),
            &mut Vec::new()
        ));
    }

    #[test]
    fn add_prints_one_document_in_the_configurations_version() {
        for version in Version::ALL {
            let config = format!(r#"{{"name":"n","cniVersion":"{version}"}}"#);
            let run = run(&[("CNI_COMMAND", "ADD")], &config);
            assert!(run.success, "{}", run.stdout);
            assert_eq!(run.json()["cniVersion"], version.to_string());
            assert!(!run.stdout.ends_with('\n'));
            assert_eq!(run.calls, ["ADD"]);
        }
    }

    #[test]
    fn an_error_before_the_claim_undoes_nothing() {
        let run = run(&[("CNI_COMMAND", "ADD")], &config("taken"));
        assert_eq!((run.code(), run.calls), (100, vec!["ADD".to_owned()]));
    }

    #[test]
    fn an_error_after_the_claim_is_undone_and_the_first_error_told() {
        for name in ["breaks", "breaks-twice"] {
            let run = run(&[("CNI_COMMAND", "ADD")], &config(name));
            assert_eq!(run.code(), 11, "{name}");
            assert_eq!(run.calls, ["ADD", UNDONE]);
            assert_eq!(run.stderr.contains("stuck"), name == "breaks-twice");
        }
    }

    #[test]
    fn a_result_that_has_no_words_is_undone() {
        let config = r#"{"name":"layer2","cniVersion":"0.2.0"}"#;
        let run = run(&[("CNI_COMMAND", "ADD")], config);
        assert_eq!(
            (run.code(), &run.json()["cniVersion"]),
            (7, &json!("0.2.0"))
        );
        assert_eq!(run.calls, ["ADD", UNDONE]);
    }

    #[test]
    fn a_result_that_nobody_reads_is_undone_if_anything_was_made() {
        struct Broken(Vec<u8>);
        impl AsRef<[u8]> for Broken {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // An ADD that found everything there, and claimed nothing, must not take it down.
        for (name, calls) in [("n", &["ADD", UNDONE][..]), ("repeated", &["ADD"])] {
            let mut stdout = Broken(Vec::new());
            let run = run_printing_to(&mut stdout, &[("CNI_COMMAND", "ADD")], &config(name));
            assert!(
                !run.success && run.stderr.contains("error writing to stdout"),
                "{}",
                run.stderr
            );
            assert_eq!(run.calls, calls, "{name}");
        }
    }

    #[test]
    fn nothing_is_logged_unless_asked_for_and_then_a_line_for_each_call() {
        let json = ("DAVIT_CNI_LOG", "json");
        for name in ["n", "taken"] {
            assert_eq!(run(&[("CNI_COMMAND", "ADD")], &config(name)).stderr, "");
            let run = run(&[("CNI_COMMAND", "ADD"), json], &config(name));
            let line: Value = serde_json::from_str(&run.stderr).expect("one line");
            assert_eq!(line["plugin"], "actor");
            assert_eq!(line["command"], "ADD");
            assert_eq!(line["network"], name);
            assert_eq!(line["containerID"], "c1");
            assert!(line["ms"].is_number() && line["time"].is_number(), "{line}");
            let code = (name == "taken").then_some(100);
            assert_eq!(line.get("code").and_then(Value::as_u64), code, "{line}");
            let level = if name == "taken" { "error" } else { "info" };
            assert_eq!(line["level"], level);
        }
        let run = run(&[("CNI_COMMAND", "ADD"), json], &config("breaks-twice"));
        let lines: Vec<Value> = run.stderr.lines().flat_map(serde_json::from_str).collect();
        assert_eq!(lines.len(), 2, "{}", run.stderr);
        assert_eq!(lines[0]["level"], "warning");
    }

    #[test]
    fn the_plugins_own_namespace_is_refused_before_anything_changes() {
        let own = ("CNI_NETNS", "/proc/self/ns/net");
        for command in ["ADD", "DEL"] {
            let refused = run(&[("CNI_COMMAND", command), own], &config("n"));
            assert_eq!((refused.code(), refused.calls.len()), (8, 0), "{command}");
            for insists in ["1", "true", "TRUE"] {
                let variables = [
                    ("CNI_COMMAND", command),
                    own,
                    ("CNI_NETNS_OVERRIDE", insists),
                ];
                assert!(run(&variables, &config("n")).success, "{command} {insists}");
            }
        }
    }

    #[test]
    fn the_other_verbs_print_nothing_on_success() {
        for (command, call) in [("DEL", UNDONE), ("CHECK", "CHECK"), ("GC", "GC false")] {
            let run = run(&[("CNI_COMMAND", command)], &config("n"));
            assert!(
                run.success && run.stdout.is_empty(),
                "{command} {}",
                run.stdout
            );
            assert_eq!(run.calls, [call]);
        }
        assert_eq!(run(&[("CNI_COMMAND", "STATUS")], &config("n")).code(), 50);
    }

    #[test]
    fn errors_carry_the_configurations_version_as_far_as_it_is_known() {
        let old = r#"{"name":"n","cniVersion":"0.3.1"}"#;
        let run_check = run(&[("CNI_COMMAND", "CHECK")], old);
        assert_eq!(
            (run_check.code(), &run_check.json()["cniVersion"]),
            (1, &json!("0.3.1"))
        );
        let bad_id = run(&[("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "../x")], old);
        assert_eq!(
            (bad_id.code(), &bad_id.json()["cniVersion"]),
            (4, &json!("1.1.0"))
        );
    }

    #[test]
    fn an_endless_stdin_ends_at_the_bound() {
        let stdin = " ".repeat(17 << 20);
        let run = run(&[("CNI_COMMAND", "ADD")], &stdin);
        assert_eq!((run.code(), run.calls.len()), (5, 0));
    }
}
