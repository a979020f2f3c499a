//! Images and configurations made to mislead: links, pipes and monstrous files where a runtime
//! expects what every image has.
//!
//! What they lead to is a directory beside the bundle that stands for the host.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testbed::Config;

use super::idmap::{mapped, opened};
use super::past_vulnerabilities::{with_dev, without};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F229,
        nothing_but_a_procfs_goes_on_proc,
        "CVE-2019-16884: a directory of the image on /proc takes the security labels that are written there"
    ),
    row!(
        Runtime,
        F047,
        a_very_long_configuration_overflows_nothing,
        "CVE-2021-43784: what is longer than 64 KiB must not be read as something else on its way to init"
    ),
    row!(
        Runtime,
        F203,
        exec_inherits_no_capability_that_nobody_gave,
        "CVE-2022-24769, CVE-2025-27612: inheritable capabilities raise the rights of a user by capabilities of files"
    ),
    row!(
        Runtime,
        F189,
        without_a_cgroup_namespace_no_group_of_the_host_is_made,
        "CVE-2023-25809: cgroups that the container's root may write are at most its own"
    ),
    row!(
        Runtime,
        F166,
        a_null_that_is_a_link_gives_no_file_away,
        "CVE-2026-88265: /dev/null of the image as a link to a file of the host, opened again as standard stream and given to the user"
    ),
    row!(
        Runtime,
        F141,
        a_pretended_proc_leaves_a_read_only_root_read_only,
        "CVE-2026-115521: a late change to read-only was looked up in the container's own /proc/self/fd"
    ),
    row!(
        Runtime,
        F128,
        every_odd_destination_stays_in_the_rootfs,
        "config.md: destination of mount point: path inside container, whatever links the image has"
    ),
    row!(
        Runtime,
        F047,
        an_image_of_links_and_pipes_harms_nobody,
        "CVE-2026-41579 and its class: proc, sys, dev and etc of an image may be links, pipes, sockets or not there"
    ),
    row!(
        Runtime,
        F113,
        a_monstrous_passwd_is_no_obstacle,
        "runc: HOME is looked up in a file of the image, which may be endless, or a pipe that nobody writes"
    ),
    row!(
        Runtime,
        F051,
        a_monstrous_configuration_harms_nobody,
        "config.md, valid values: MUST generate an error when invalid values are encountered, whatever their size and depth"
    ),
    row!(
        Runtime,
        F116,
        no_link_to_a_working_directory_leads_out,
        "CVE-2024-21626: a working directory through links of procfs must not be one of the host"
    ),
    row!(
        Runtime,
        F086,
        a_hook_that_floods_its_outputs_holds_nobody,
        "runtime.md, lifecycle: a hook that ended has ended, whatever it wrote and whoever holds its outputs"
    ),
    row!(
        Runtime,
        F113,
        variables_of_the_program_do_not_reach_the_runtime,
        "config.md, process: env: the environment of the process, and of nobody before it"
    ),
];

/// A directory that stands for the host, with a file that nobody is to change.
struct Outside(PathBuf);

impl Outside {
    fn make(case: &Case<'_>) -> Verdict<Self> {
        let place = case.dir().join("outside");
        std::fs::create_dir(&place)?;
        std::fs::write(place.join("file"), "of the host")?;
        Ok(Self(place))
    }

    fn is_untouched(&self, by: &str) -> Verdict {
        let entries = std::fs::read_dir(&self.0)?.count();
        let file = std::fs::read_to_string(self.0.join("file"))?;
        ensure!(
            (entries, file.as_str()) == (1, "of the host"),
            "{entries} entries and {file:?} on the host, by {by}"
        );
        Ok(())
    }
}

/// Made or refused, but no crash and no hang.
fn runs_or_refuses(container: &Container<'_>) -> Verdict<testbed::Outcome> {
    container.run()?.ends()
}

/// The same without the trick runs, so that no refusal was for another reason.
fn an_honest_one_runs(case: &Case<'_>) -> Verdict {
    case.container(Config::new().args(&["true"]))?
        .run()?
        .succeeds()?;
    Ok(())
}

fn nothing_but_a_procfs_goes_on_proc(case: &Case<'_>) -> Verdict {
    let fake = case.path("fake");
    case.sh(&format!(
        "mkdir -p {fake}/self/attr/apparmor {fake}/thread-self/attr/apparmor; \
         for d in self thread-self; do touch {fake}/$d/attr/exec {fake}/$d/attr/apparmor/exec; done"
    ))?;
    for (destination, kind, source, options) in [
        ("/proc", "bind", fake.as_str(), &["bind"][..]),
        ("/proc", "tmpfs", "tmpfs", &[]),
        ("/proc/self/attr", "bind", &fake, &["bind"]),
        ("/proc/1/attr", "tmpfs", "tmpfs", &[]),
    ] {
        let config = match destination {
            "/proc" => without("/proc"),
            _ => Config::new(),
        };
        let config = config
            .mount(destination, kind, source, options)
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]));
        case.container(config)?.run()?.refuses()?;
    }
    an_honest_one_runs(case)
}

fn a_very_long_configuration_overflows_nothing(case: &Case<'_>) -> Verdict {
    let namespace = format!("/proc{}/self/ns/net", "/self/..".repeat(9000));
    let config = Config::new()
        .retain("/linux/namespaces", |one| one["type"] != "network")
        .push(
            "/linux/namespaces",
            json!({ "type": "network", "path": namespace }),
        );
    case.container(config)?.run()?.refuses()?;
    case.container(Config::new().set("/hostname", "h".repeat(70_000)))?
        .run()?
        .refuses()?;
    // What may be that long is taken as it is, and so is all behind it.
    let source = case.path("file");
    std::fs::write(&source, "x")?;
    let names = (0..700).map(|number| format!("/many/{}{number:04}", "n".repeat(96)));
    let config = names.fold(Config::new(), |config, name| {
        config.mount(&name, "bind", &source, &["bind"])
    });
    let config = config
        .push("/process/env", format!("LONG={}", "v".repeat(100_000)))
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .sh("ls /many | wc -l; echo ${#LONG} $(id -u)");
    let output = case.container(config)?.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(words, ["700", "100000", "1000"], "mounts, variable, user");
    Ok(())
}

fn exec_inherits_no_capability_that_nobody_gave(case: &Case<'_>) -> Verdict {
    let names = ["CAP_CHOWN", "CAP_KILL"];
    let sets = json!({ "bounding": names, "permitted": names, "effective": names });
    let config = Config::new()
        .set("/process/capabilities", sets)
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.up()?;
    let empty = "CapInh:\t0000000000000000";
    for options in [&[][..], &["--user", "1000:1000"], &["--cap", "CAP_KILL"]] {
        let look = ["grep", "CapInh", "/proc/self/status"];
        let args = [&["exec"], options, &[&container.id], &look].concat();
        let text = case.call(&case.runtime(&args)?)?.succeeds()?.text();
        ensure_eq!(text, empty, "exec {options:?}");
    }
    let init = container.exec(&["grep", "CapInh", "/proc/1/status"])?;
    ensure_eq!(init.succeeds()?.text(), empty, "the program itself");
    Ok(())
}

fn without_a_cgroup_namespace_no_group_of_the_host_is_made(case: &Case<'_>) -> Verdict {
    let name = format!("{}-made", case.cgroup_prefix());
    // Above its own cgroup it must not succeed; in it, it may.
    let script = format!(
        "for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $g/{name} 2>/dev/null; done; echo tried"
    );
    let config = mapped()
        .retain("/mounts", |mount| mount["destination"] != "/sys/fs/cgroup")
        .retain("/linux/namespaces", |one| one["type"] != "cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid"])
        .sh(&script);
    let container = opened(case, config)?;
    ensure_eq!(container.output()?, "tried", "what the container said");
    for hierarchy in testbed::snapshot::hierarchies()? {
        let made = hierarchy.join(&name);
        let there = case.holds(&format!("test -e {}", made.display()))?;
        ensure!(!there, "{} was made from inside", made.display());
    }
    Ok(())
}

fn a_null_that_is_a_link_gives_no_file_away(case: &Case<'_>) -> Verdict {
    let outside = Outside::make(case)?;
    let volume = case.dir().join("volume");
    std::fs::create_dir(&volume)?;
    symlink("/data/file", volume.join("null"))?;
    // Where /dev is a volume, no runtime looks at what is there before it opens it.
    for config in [without("/dev"), with_dev(&volume, &[])?] {
        let config = config
            .mount("/data", "bind", &outside.0.to_string_lossy(), &["bind"])
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .sh("echo said; echo complained >&2");
        for quiet in ["", "exec </dev/null >/dev/null 2>&1; "] {
            let container = case.container(config.clone())?;
            symlink("/data/file", container.bundle.in_rootfs("dev/null"))?;
            let run = container.command(&["run", "--bundle", &container.dir()])?;
            let shell = format!("{quiet}exec \"$@\"");
            let outcome = case
                .call(&run.within(&["sh", "-c", &shell, "sh"]))?
                .ends()?;
            outside.is_untouched(&outcome.to_string())?;
            let owner = case.sh(&format!("stat -c %u:%g {}/file", outside.0.display()))?;
            ensure_eq!(owner, "0:0", "owner of the file of the host");
        }
    }
    an_honest_one_runs(case)
}

fn a_pretended_proc_leaves_a_read_only_root_read_only(case: &Case<'_>) -> Verdict {
    let config = without("/proc")
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set("/root/readonly", true)
        .mount("/scratch", "tmpfs", "tmpfs", &["ro"])
        .mount("/decoy", "tmpfs", "tmpfs", &[])
        .sh("echo started; touch /written 2>/dev/null; touch /scratch/written 2>/dev/null && echo written; :");
    let container = case.container(config)?;
    std::fs::create_dir(container.bundle.in_rootfs("decoy"))?;
    std::fs::create_dir(container.bundle.in_rootfs("scratch"))?;
    for process in ["self", "thread-self", "1"] {
        let table = container.bundle.in_rootfs(&format!("proc/{process}/fd"));
        std::fs::create_dir_all(&table)?;
        for number in 0..64 {
            symlink("/decoy", table.join(number.to_string()))?;
        }
    }
    let outcome = container.run()?;
    ensure!(
        outcome.refused() || outcome.text() == "started",
        "neither refused nor run:\n{outcome}"
    );
    ensure!(
        container.left("/written").is_err(),
        "the root was writable:\n{outcome}"
    );
    an_honest_one_runs(case)
}

/// How a destination can be spelt, and what the image has at `/odd`.
const ODD: [(&str, &str); 13] = [
    ("/odd", "link OUTSIDE"),
    ("/odd/below", "link OUTSIDE"),
    ("/odd/", "link OUTSIDE"),
    ("/odd/file", "link OUTSIDE"),
    ("/odd", "link ../../../../../../../..OUTSIDE"),
    ("/odd/new/deep", "link ../../../../../../../..OUTSIDE"),
    ("/odd/new", "link OUTSIDE/not-there"),
    ("/odd/new", "link /proc/self/root"),
    ("/odd/new", "link /proc/1/cwd"),
    ("/odd/../../../../../../..OUTSIDE/new", "link /tmp"),
    ("/proc/self/fd/5/new", "nothing"),
    ("/odd/odd/odd", "link odd"),
    ("/odd/new", "file"),
];

fn every_odd_destination_stays_in_the_rootfs(case: &Case<'_>) -> Verdict {
    let outside = Outside::make(case)?;
    let place = outside.0.to_string_lossy().into_owned();
    let source = case.path("source");
    std::fs::write(&source, "x")?;
    for (destination, odd) in ODD {
        let destination = destination.replace("OUTSIDE", &place);
        for (kind, source) in [("tmpfs", "tmpfs"), ("bind", source.as_str())] {
            let options: &[&str] = if kind == "bind" { &["bind"] } else { &[] };
            let config = Config::new()
                .mount(&destination, kind, source, options)
                .args(&["true"]);
            let container = case.container(config)?;
            let at = container.bundle.in_rootfs("odd");
            match odd.split_once(' ') {
                Some((_, target)) => symlink(target.replace("OUTSIDE", &place), &at)?,
                None if odd == "file" => std::fs::write(&at, "x")?,
                None => {}
            }
            let outcome = runs_or_refuses(&container)?;
            outside.is_untouched(&format!("{kind} on {destination}, {odd}:\n{outcome}"))?;
        }
    }
    let config = Config::new().mount("/odd/new", "bind", &source, &["bind"]);
    ensure_eq!(
        case.container(config.args(&["cat", "/odd/new"]))?
            .output()?,
        "x",
        "an honest destination"
    );
    Ok(())
}

fn an_image_of_links_and_pipes_harms_nobody(case: &Case<'_>) -> Verdict {
    let outside = Outside::make(case)?;
    let names = [
        "proc",
        "sys",
        "dev",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/passwd",
    ];
    for name in names {
        for kind in ["link", "link to a file", "pipe", "socket", "nothing"] {
            let config = if name == "dev" || name.starts_with("dev/") {
                without("/dev/mqueue").retain("/mounts", |mount| mount["destination"] != "/dev")
            } else {
                Config::new()
            };
            let config = config.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            let container = case.container(config.args(&["true"]))?;
            let place = container.bundle.in_rootfs(name);
            case.sh(&format!("rm -rf {}", place.display()))?;
            match kind {
                "link" => symlink(&outside.0, &place)?,
                "link to a file" => symlink(outside.0.join("file"), &place)?,
                "pipe" => _ = case.sh(&format!("mkfifo {}", place.display()))?,
                "socket" => drop(std::os::unix::net::UnixListener::bind(short(
                    case, &place,
                )?)?),
                _ => {}
            }
            let outcome = runs_or_refuses(&container)?;
            outside.is_untouched(&format!("{name} as {kind}:\n{outcome}"))?;
        }
    }
    an_honest_one_runs(case)
}

/// The name of a socket has 108 bytes; this leads there by a shorter one.
fn short(case: &Case<'_>, place: &Path) -> Verdict<PathBuf> {
    let (parent, name) = (place.parent(), place.file_name());
    let link = case.dir().join("s");
    let _ = std::fs::remove_file(&link);
    symlink(parent.unwrap_or(Path::new("/")), &link)?;
    Ok(link.join(name.unwrap_or_default()))
}

fn a_monstrous_passwd_is_no_obstacle(case: &Case<'_>) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let config = Config::new()
        .set("/process/user", user)
        .sh("echo home is $HOME");
    for kind in ["sparse", "lines", "zeros", "one line", "pipe"] {
        let container = case.container(config.clone())?;
        let passwd = container.bundle.in_rootfs("etc/passwd");
        std::fs::remove_file(&passwd)?;
        match kind {
            "sparse" => File::create(&passwd)?.set_len(1 << 30)?,
            "lines" => {
                let line = |number| format!("u{number}:x:{}:1::/u:/bin/sh\n", number + 2000);
                std::fs::write(&passwd, (0..1_000_000).map(line).collect::<String>())?;
            }
            "zeros" => std::fs::write(&passwd, [0; 4096])?,
            "one line" => std::fs::write(&passwd, vec![b'x'; 32 << 20])?,
            _ => _ = case.sh(&format!("mkfifo {}", passwd.display()))?,
        }
        let outcome = runs_or_refuses(&container)?;
        ensure!(
            outcome.refused() || outcome.text().starts_with("home is"),
            "{kind}:\n{outcome}"
        );
    }
    let text = case.container(config)?.output()?;
    ensure_eq!(text, "home is /home/user", "an honest file");
    Ok(())
}

fn a_monstrous_configuration_harms_nobody(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["true"]))?;
    let file = container.bundle.dir().join("config.json");
    let honest = std::fs::read_to_string(&file)?;
    let with = |property: &[u8]| {
        let rest = &honest.as_bytes()[1..];
        [b"{", property, b",", rest].concat()
    };
    let deep = "[".repeat(100_000);
    let edited = |pointer: &str, value: Value| -> Verdict<Vec<u8>> {
        let mut config: Value = serde_json::from_str(&honest)?;
        if let Some(place) = config.pointer_mut(pointer) {
            *place = value;
        }
        Ok(config.to_string().into())
    };
    let closed = format!("\"x\": {deep}{}", "]".repeat(100_000));
    // What no sentence forbids may be taken.
    let monsters = [
        (true, "nested deep", with(closed.as_bytes())),
        (true, "no UTF-8", with(b"\"x\": \"\xff\"")),
        (true, "a key twice", with(b"\"hostname\": \"other\"")),
        (
            true,
            "64 MiB of blanks",
            (honest.clone() + &" ".repeat(64 << 20)).into(),
        ),
        (
            false,
            "nested without end",
            with(format!("\"x\": {deep}").as_bytes()),
        ),
        (
            false,
            "half of it",
            honest.as_bytes()[..honest.len() / 2].to_vec(),
        ),
        (
            false,
            "a uid beyond all",
            edited("/process/user/uid", json!(1_u64 << 40))?,
        ),
        (
            false,
            "a negative uid",
            edited("/process/user/uid", json!(-1))?,
        ),
    ];
    container.run()?.succeeds()?;
    let before = case.snapshot()?;
    for (may_be_taken, name, text) in monsters {
        std::fs::write(&file, text)?;
        let outcome = runs_or_refuses(&container)?;
        ensure!(
            outcome.refused() || may_be_taken,
            "{name} was taken by\n{outcome}"
        );
        case.has_nothing_since(&before)?;
    }
    Ok(())
}

fn no_link_to_a_working_directory_leads_out(case: &Case<'_>) -> Verdict {
    let look = "cd .. 2>/dev/null; ls -d ./etc/debian_version 2>/dev/null; pwd; :";
    let links = (3..16).map(|number| format!("/proc/self/fd/{number}"));
    let far = "/proc/1/root/../../..".to_owned();
    let targets: Vec<String> = links.chain([far, "loop".into()]).collect();
    for target in &targets {
        let container = case.container(Config::new().set("/process/cwd", "/loop").sh(look))?;
        symlink(target, container.bundle.in_rootfs("loop"))?;
        let outcome = runs_or_refuses(&container)?;
        ensure!(
            !outcome.text().contains("debian_version"),
            "{target} is of the host:\n{outcome}"
        );
    }
    for cwd in [
        "/proc/self/cwd",
        "/proc/1/cwd",
        "/proc/1/root",
        "/proc/self/root/..",
    ] {
        let container = case.container(Config::new().set("/process/cwd", cwd).sh(look))?;
        let outcome = runs_or_refuses(&container)?;
        ensure!(
            !outcome.text().contains("debian_version"),
            "{cwd} is of the host:\n{outcome}"
        );
    }
    let sane = Config::new().set("/process/cwd", "/tmp").sh(look);
    ensure_eq!(case.container(sane)?.output()?, "/", "above an honest one");
    Ok(())
}

fn a_hook_that_floods_its_outputs_holds_nobody(case: &Case<'_>) -> Verdict {
    let flood = "exec <&-; head -c 10485760 /dev/zero | tr '\\0' x >&2; \
                 head -c 10485760 /dev/zero | tr '\\0' x; echo done";
    let script = format!("{flood} >{}", case.path("hook"));
    let container = case.container(Config::new().hook("createRuntime", &script).args(&["true"]))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    // Read to the end by nobody: a pipe of 64 KiB with a reader that looks at the first line.
    let outcome =
        case.call(&run.within(&["sh", "-c", "\"$@\" 2>&1 | head -c 100 >/dev/null", "sh"]))?;
    ensure!(outcome.success(), "it hangs:\n{outcome}");
    let container = case.container(Config::new().hook("createRuntime", &script).args(&["true"]))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    case.call(&run.within(&["sh", "-c", "exec \"$@\" >/dev/null 2>&1", "sh"]))?
        .succeeds()?;
    ensure_eq!(case.read("hook")?, "done", "the hook came to its end");
    Ok(())
}

fn variables_of_the_program_do_not_reach_the_runtime(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .push("/process/env", "LD_PRELOAD=/evil.so")
        .push("/process/env", "LD_LIBRARY_PATH=/evil")
        .push("/process/env", "LD_AUDIT=/evil.so")
        .args(&["/bin/busybox", "env"]);
    let container = case.container(config)?;
    let outcome = container.run()?.succeeds()?;
    ensure!(
        outcome.text().contains("LD_PRELOAD=/evil.so"),
        "the program has not its variables:\n{outcome}"
    );
    // A dynamic loader that was given them would say that there is no such library.
    ensure_eq!(outcome.complaint(), "", "what was said beside");
    Ok(())
}
