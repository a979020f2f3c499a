//! Labels of security modules, keyrings, capabilities that nobody knows, and handlers.

use serde_json::json;
use testbed::{Config, elf, requires};

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F046,
        a_handler_that_is_missing_is_not_replaced_by_a_native_run,
        "crun(1): run.oci.handler=HANDLER: use the specified handler to run the container"
    ),
    row!(
        Runtime,
        F145,
        a_mount_gets_the_label_of_mounts,
        "config-linux.md: mountLabel: will set the SELinux context for the mounts in the container"
    ),
    row!(
        Runtime,
        F145,
        a_mount_label_without_selinux_is_refused,
        "config-linux.md: mountLabel; what is asked for and cannot be had is an error"
    ),
    row!(
        Runtime,
        F201,
        an_unknown_capability_is_warned_of,
        "config.md: capabilities: a runtime must not fail for, but log, a capability it cannot map"
    ),
    row!(
        Runtime,
        F217,
        the_apparmor_profile_confines_program_and_exec,
        "config.md: apparmorProfile: the name of the AppArmor profile for the process"
    ),
    row!(
        Runtime,
        F217,
        an_apparmor_profile_that_cannot_be_had_is_an_error,
        "config.md: apparmorProfile; what is asked for and cannot be had is an error"
    ),
    row!(
        Runtime,
        F218,
        the_selinux_label_is_that_of_the_program,
        "config.md: selinuxLabel: the SELinux label for the process"
    ),
    row!(
        Runtime,
        F218,
        a_selinux_label_without_selinux_is_refused,
        "config.md: selinuxLabel; what is asked for and cannot be had is an error"
    ),
    row!(
        Runtime,
        F219,
        the_container_has_a_session_keyring_of_its_own,
        "runc-run(8): --no-new-keyring: do not create a new session keyring for the container"
    ),
    row!(
        Runtime,
        F219,
        exec_joins_the_keyring_of_the_container,
        "runc: a process that joins the container joins its session keyring"
    ),
];

fn a_handler_that_is_missing_is_not_replaced_by_a_native_run(case: &Case<'_>) -> Verdict {
    // Empty means none.
    let none = json!({ "run.oci.handler": "" });
    let config = Config::new()
        .set("/annotations", none)
        .args(&["echo", "native"]);
    let container = case.container(config)?;
    container.run()?.succeeds()?;
    for handler in ["krun", "wasm", "no-such-handler"] {
        let annotations = json!({ "run.oci.handler": handler });
        let config = Config::new().set("/annotations", annotations);
        let outcome = case
            .container(config.args(&["echo", "native"]))?
            .run()?
            .refuses()?;
        ensure!(
            !outcome.text().contains("native"),
            "it ran all the same:\n{outcome}"
        );
        outcome.says(&["handler"])?;
    }
    Ok(())
}

fn has_selinux() -> bool {
    std::fs::metadata("/sys/fs/selinux/enforce").is_ok()
}

const LABEL: &str = "system_u:system_r:container_t:s0:c1,c2";
const MOUNT_LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn a_mount_gets_the_label_of_mounts(case: &Case<'_>) -> Verdict {
    needs!(has_selinux(), "SELinux");
    let config = Config::new()
        .mount("/kept", "tmpfs", "tmpfs", &[])
        .set("/linux/mountLabel", MOUNT_LABEL)
        .args(&["cat", "/proc/self/mountinfo"]);
    let mounts = case.container(config)?.output()?;
    let line = mounts.lines().find(|line| line.contains(" /kept "));
    let line = line.ok_or_else(|| Failure(format!("no /kept in\n{mounts}")))?;
    ensure!(
        line.contains("container_file_t:s0:c1,c2"),
        "label of the mount: {line}"
    );
    Ok(())
}

fn a_mount_label_without_selinux_is_refused(case: &Case<'_>) -> Verdict {
    needs!(!has_selinux(), "a machine without SELinux");
    let config = Config::new()
        .set("/linux/mountLabel", MOUNT_LABEL)
        .args(&["true"]);
    case.container(config)?
        .create()?
        .refuses()?
        .says(&["selinux"])?;
    Ok(())
}

fn an_unknown_capability_is_warned_of(case: &Case<'_>) -> Verdict {
    let names = json!(["CAP_KILL", "CAP_OF_TOMORROW"]);
    let config = Config::new()
        .set(
            "/process/capabilities",
            json!({ "bounding": names, "permitted": names, "effective": names }),
        )
        .sh("grep CapBnd /proc/self/status | tr -d '\\t'");
    let outcome = case.container(config)?.run()?.succeeds()?;
    ensure_eq!(
        outcome.text(),
        "CapBnd:0000000000000020",
        "what it can have"
    );
    outcome.says(&["CAP_OF_TOMORROW"])?;
    Ok(())
}

fn has_apparmor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
}

fn the_apparmor_profile_confines_program_and_exec(case: &Case<'_>) -> Verdict {
    let usable = has_apparmor() && requires::is_installed("apparmor_parser");
    needs!(usable, "AppArmor (with apparmor_parser)");
    let name = format!("{}-profile", case.cgroup_prefix());
    let profile = format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  \
         signal,\n  network,\n  ptrace,\n  mount,\n  deny /secret r,\n}}\n"
    );
    std::fs::write(case.dir().join("profile"), profile)?;
    case.sh("mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security")?;
    let load = format!("apparmor_parser -r --skip-cache {}", case.path("profile"));
    case.sh(&load)?;
    let verdict = confined(case, &name);
    case.sh(&format!("apparmor_parser -R {}", case.path("profile")))?;
    verdict
}

fn confined(case: &Case<'_>, name: &str) -> Verdict {
    let config = Config::new()
        .set("/process/apparmorProfile", name)
        .sh("cat /proc/self/attr/current > /label; cat /secret > /seen; sleep 60");
    let container = case.container(config)?;
    std::fs::write(container.bundle.in_rootfs("secret"), "secret")?;
    container.up()?;
    let look = "cat /proc/self/attr/current; cat /secret || echo denied";
    let said = container.exec(&["sh", "-c", look])?.succeeds()?.text();
    ensure_eq!(said, format!("{name} (enforce)\ndenied"), "what exec saw");
    ensure_eq!(
        container.left_in_time("label")?,
        format!("{name} (enforce)"),
        "label of the program"
    );
    ensure_eq!(container.left("seen")?, "", "what the program read");
    container.stop()?;
    container.delete()?.succeeds()?;
    Ok(())
}

fn an_apparmor_profile_that_cannot_be_had_is_an_error(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/process/apparmorProfile", "dvt-no-such-profile")
        .args(&["true"]);
    case.container(config)?
        .run()?
        .refuses()?
        .says(&["apparmor"])?;
    Ok(())
}

fn the_selinux_label_is_that_of_the_program(case: &Case<'_>) -> Verdict {
    needs!(has_selinux(), "SELinux");
    let config = Config::new()
        .set("/process/selinuxLabel", LABEL)
        .set("/linux/mountLabel", MOUNT_LABEL)
        .args(&["cat", "/proc/self/attr/current"]);
    let label = case.container(config)?.output()?;
    ensure_eq!(label.trim_end_matches('\0'), LABEL, "label");
    Ok(())
}

fn a_selinux_label_without_selinux_is_refused(case: &Case<'_>) -> Verdict {
    needs!(!has_selinux(), "a machine without SELinux");
    let config = Config::new()
        .set("/process/selinuxLabel", LABEL)
        .args(&["true"]);
    case.container(config)?
        .create()?
        .refuses()?
        .says(&["selinux"])?;
    Ok(())
}

/// Without what hides `/proc/keys`.
fn with_keys() -> Config {
    let config = Config::new();
    config.retain("/linux/maskedPaths", |path| path != "/proc/keys")
}

fn has_keys() -> Verdict {
    needs!(
        std::fs::metadata("/proc/keys").is_ok(),
        "a kernel with keys"
    );
    Ok(())
}

fn the_container_has_a_session_keyring_of_its_own(case: &Case<'_>) -> Verdict {
    has_keys()?;
    // /proc/keys shows those of other rows' containers, whose ids are c0 and c1 as well.
    let mut container = case.container(with_keys().args(&["cat", "/proc/keys"]))?;
    container.id = format!("{}-own", case.cgroup_prefix());
    let keys = container.output()?;
    ensure!(
        has_keyring(&keys, &container.id),
        "no keyring of {} in\n{keys}",
        container.id
    );
    let mut container = case.container(with_keys().args(&["cat", "/proc/keys"]))?;
    container.id = format!("{}-none", case.cgroup_prefix());
    let run = ["run", "--no-new-keyring", "--bundle", &container.dir()];
    let keys = case.call(&container.command(&run)?)?.succeeds()?.text();
    ensure!(
        !has_keyring(&keys, &container.id),
        "a keyring that was not wanted:\n{keys}"
    );
    Ok(())
}

/// Whether one is called as the container, by the name that runc or the one that crun gives it.
fn has_keyring(keys: &str, id: &str) -> bool {
    let named =
        |line: &&str| line.contains(&format!(" _ses.{id}:")) || line.contains(&format!(" {id}:"));
    keys.lines().any(|line| named(&line))
}

fn exec_joins_the_keyring_of_the_container(case: &Case<'_>) -> Verdict {
    has_keys()?;
    needs!(cfg!(target_arch = "x86_64"), "an x86_64 machine");
    // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING): 16 bits of the serial number.
    let both = "/low; a=$?; /high; echo $a $?";
    let container = case.container(with_keys().sh(&format!("({both}) > /out; sleep 60")))?;
    for (name, shift) in [("low", 0), ("high", 8)] {
        let path = container.bundle.in_rootfs(name);
        elf::x86_64_call(&path, 250, [0, (-3i32).cast_unsigned(), 0], shift)?;
    }
    container.up()?;
    let exec = container.exec(&["sh", "-c", both])?.succeeds()?.text();
    ensure_eq!(
        exec,
        container.left_in_time("out")?,
        "session keyring of exec and of the container"
    );
    Ok(())
}
