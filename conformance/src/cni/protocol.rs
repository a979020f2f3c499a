//! What every plugin must do: environment, stdin, stdout, versions, errors.

use serde_json::{Value, json};

use super::staged::{VERSIONS, present, serviceable};
use crate::attachment::{Attachment, addresses, host_local, with, with_prev};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PR01,
        version_lists_every_version,
        "SPEC VERSION: probe plugin version support; supportedVersions"
    ),
    row!(
        Cni,
        PR02,
        version_answers_in_the_version_asked,
        "SPEC VERSION: cniVersion: the value of cniVersion specified on input"
    ),
    row!(
        Cni,
        PR03,
        without_a_command_there_is_a_banner,
        "skel: no CNI_COMMAND: `CNI <name> plugin <version>` on stderr, status 0; nerdctl parses it"
    ),
    row!(
        Cni,
        PR04,
        every_missing_variable_is_named,
        "SPEC error 4: invalid necessary environment variables; the message must contain their names"
    ),
    row!(
        Cni,
        PR05,
        an_unknown_verb_is_code_4,
        "SPEC error 4: invalid necessary environment variables, like CNI_COMMAND"
    ),
    row!(
        Cni,
        PR06,
        a_bad_container_id_is_code_4,
        "SPEC: CNI_CONTAINERID must start with an alphanumeric character, then alphanumeric, _ . or -"
    ),
    row!(
        Cni,
        PR07,
        a_bad_interface_name_is_code_4,
        "SPEC: CNI_IFNAME: name of the interface to create; the kernel's rules for names"
    ),
    row!(
        Cni,
        PR08,
        a_bad_network_name_is_code_7,
        "SPEC: name: must start with an alphanumeric character; error 7: invalid network config"
    ),
    row!(
        Cni,
        PR09,
        undecodable_stdin_is_code_6,
        "SPEC error 6: failed to decode content"
    ),
    row!(
        Cni,
        PR10,
        an_unsupported_version_is_code_1,
        "SPEC error 1: incompatible CNI version"
    ),
    row!(
        Cni,
        PR11,
        a_verb_above_its_version_is_code_1,
        "SPEC: CHECK since 0.4.0, GC and STATUS since 1.1.0"
    ),
    row!(
        Cni,
        PR12,
        a_failure_prints_one_document,
        "SPEC: on failure a plugin outputs an error structure on stdout"
    ),
    row!(
        Cni,
        PR13,
        an_error_carries_the_version,
        "SPEC Error: cniVersion: the protocol version in use by the plugin"
    ),
    row!(
        Cni,
        PR14,
        a_bad_configuration_is_code_7,
        "SPEC error 7: invalid network config"
    ),
    row!(
        Cni,
        PR14,
        a_missing_namespace_is_no_internal_error,
        "SPEC errors: 1-99 well-known; 999 says nothing about the cause"
    ),
    row!(
        Cni,
        PR14,
        status_without_the_delegate_is_code_50,
        "SPEC STATUS: error 50: the plugin is not available; a delegate has to be asked too"
    ),
    row!(
        Cni,
        PR15,
        garbage_never_kills_a_plugin,
        "SPEC: a plugin indicates failure with a nonzero code and an error structure"
    ),
    row!(
        Cni,
        PR16,
        del_says_nothing,
        "SPEC DEL: output on success: none"
    ),
    row!(
        Cni,
        PR17,
        the_host_s_own_namespace_is_refused_before_any_change,
        "SPEC: CNI_NETNS: the container's isolated namespace; skel code 8 when it is the plugin's own"
    ),
    row!(
        Cni,
        PR18,
        the_guard_can_be_overridden,
        "skel: CNI_NETNS_OVERRIDE=1 switches the same-namespace guard off"
    ),
    row!(
        Cni,
        PR19,
        bridge_answers_in_the_version_of_the_configuration,
        "SPEC Success: cniVersion: the same version supplied on input"
    ),
    row!(
        Cni,
        PR19,
        host_local_answers_in_the_version_of_the_configuration,
        "SPEC Success: cniVersion: the same version supplied on input"
    ),
    row!(
        Cni,
        PR19,
        loopback_answers_in_the_version_of_the_configuration,
        "SPEC Success: cniVersion: the same version supplied on input"
    ),
    row!(
        Cni,
        PR19,
        portmap_answers_in_the_version_of_the_configuration,
        "SPEC Success: cniVersion: the same version supplied on input"
    ),
    row!(
        Cni,
        PR20,
        a_result_that_cannot_be_converted_leaves_nothing,
        "SPEC ADD: error: nothing may be left when 0.2.0 cannot express an interface without address"
    ),
    row!(
        Cni,
        PR21,
        a_prev_result_of_another_family_is_refused,
        "SPEC: prevResult: the result of the previous plugin in the version of the configuration"
    ),
    row!(
        Cni,
        PR22,
        keys_match_whatever_their_case,
        "go-cni marshals runtimeConfig with capital keys; Go's decoder folds case"
    ),
    row!(
        Cni,
        PR23,
        an_empty_address_means_unset,
        "go-cni sends \"Gateway\":\"\" and \"RangeStart\":\"\" for what is not set"
    ),
    row!(
        Cni,
        PR24,
        cni_args_have_a_strict_grammar,
        "CONVENTIONS: CNI_ARGS: alphanumeric key-value pairs separated by semicolons; IgnoreUnknown"
    ),
    row!(
        Cni,
        PR25,
        unknown_reserved_keys_are_ignored,
        "SPEC: keys that start with cni.dev/ are reserved"
    ),
    row!(
        Cni,
        PR28,
        gc_and_status_take_empty_variables,
        "libcni calls GC and STATUS with empty CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME"
    ),
    row!(
        Cni,
        PR29,
        nothing_but_the_variables_of_the_specification_is_needed,
        "SPEC: parameters are CNI_* variables and stdin; no cwd, HOME or locale"
    ),
];

/// A bridge with one subnet.
fn bridge(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": host_local(case, "10.77.0.0/24")
    })
}

fn ipam(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "host-local",
        "ipam": host_local(case, "10.77.0.0/24")
    })
}

/// An attachment to a namespace that nobody made.
fn nowhere() -> Attachment {
    Attachment {
        id: "c1".into(),
        netns: "/run/netns/nowhere".into(),
        ifname: "eth0".into(),
    }
}

/// The least configuration of every plugin that is there.
fn every_conf(case: &Case<'_>, at: &Attachment) -> Verdict<Vec<Value>> {
    let present = present(case)?.into_iter();
    Ok(present
        .map(|plugin| plugin.conf(case, at, "1.0.0"))
        .collect())
}

fn version_lists_every_version(case: &Case<'_>) -> Verdict {
    for plugin in present(case)? {
        let closed = case.plugin(plugin.name, "VERSION")?.result()?;
        ensure!(closed["supportedVersions"].is_array(), "{closed}");
        let answer = case
            .plugin(plugin.name, "VERSION")?
            .stdin(&json!({ "cniVersion": "1.0.0" }))
            .result()?;
        let versions = answer["supportedVersions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let wanted: Vec<&str> = plugin.versions().collect();
        ensure_eq!(versions, wanted, "versions of {}", plugin.name);
    }
    Ok(())
}

fn version_answers_in_the_version_asked(case: &Case<'_>) -> Verdict {
    for plugin in present(case)? {
        let answer = case
            .plugin(plugin.name, "VERSION")?
            .stdin(&json!({ "cniVersion": "0.4.0" }))
            .result()?;
        ensure_eq!(answer["cniVersion"], "0.4.0", "{}", plugin.name);
    }
    Ok(())
}

fn without_a_command_there_is_a_banner(case: &Case<'_>) -> Verdict {
    for plugin in present(case)? {
        let plugin = plugin.name;
        let outcome = case.plugin(plugin, "")?.run()?.succeeds()?;
        ensure!(outcome.stdout.is_empty(), "stdout of\n{outcome}");
        let line = outcome
            .complaint()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let start = format!("CNI {plugin} plugin ");
        ensure!(line.starts_with(&start), "first line of stderr {line:?}");
        // nerdctl asks for firewall >= 1.7.1 before it isolates.
        let version = line[start.len()..].trim_start_matches('v').to_owned();
        let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
        ensure!(
            numbers.is_ok_and(|numbers| numbers.len() == 3 && numbers >= vec![1, 7, 1]),
            "version in {line:?}"
        );
    }
    Ok(())
}

fn every_missing_variable_is_named(case: &Case<'_>) -> Verdict {
    for conf in every_conf(case, &nowhere())? {
        let name = conf["type"].as_str().unwrap_or_default();
        let error = case.plugin(name, "ADD")?.stdin(&conf).refused_with(&[4])?;
        let message = error["msg"].as_str().unwrap_or_default();
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
            ensure!(message.contains(name), "{name} in {message:?}");
        }
    }
    Ok(())
}

fn an_unknown_verb_is_code_4(case: &Case<'_>) -> Verdict {
    for conf in every_conf(case, &nowhere())? {
        case.cni("FOO", &nowhere(), &conf)?.refused_with(&[4])?;
    }
    Ok(())
}

fn a_bad_container_id_is_code_4(case: &Case<'_>) -> Verdict {
    let good = case.sandbox("c1")?;
    for id in ["", "../x", "a/b", "é", "-a", "a\n", ".a", "a b"] {
        let bad = Attachment {
            id: id.into(),
            ..good.clone()
        };
        for conf in every_conf(case, &good)? {
            case.cni("ADD", &bad, &conf)?.refused_with(&[4])?;
        }
    }
    ensure!(
        !case.holds("ip link show br0")?,
        "a refused ADD made the bridge"
    );
    Ok(())
}

fn a_bad_interface_name_is_code_4(case: &Case<'_>) -> Verdict {
    let good = case.sandbox("c1")?;
    for ifname in [
        "sixteen-bytes-xx",
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "a\u{a0}b",
    ] {
        let bad = Attachment {
            ifname: ifname.into(),
            ..good.clone()
        };
        for conf in every_conf(case, &good)? {
            case.cni("ADD", &bad, &conf)?.refused_with(&[4])?;
        }
    }
    Ok(())
}

fn a_bad_network_name_is_code_7(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for mut conf in every_conf(case, &at)? {
        for name in ["", "../x", "a/b", ".a", "a b", "a\n"] {
            let conf = with(&conf, "name", name);
            case.cni("ADD", &at, &conf)?.refused_with(&[7])?;
        }
        conf.as_object_mut().map(|conf| conf.remove("name"));
        case.cni("ADD", &at, &conf)?.refused_with(&[7])?;
    }
    Ok(())
}

fn undecodable_stdin_is_code_6(case: &Case<'_>) -> Verdict {
    let at = nowhere();
    let texts = [
        &b""[..],
        b"[]",
        b"{",
        b"\x00\xff\xfe",
        b"{\"name\":5}",
        b"null x",
    ];
    for conf in every_conf(case, &at)? {
        for text in texts {
            let call = case.cni("ADD", &at, &conf)?.raw_stdin(text);
            call.refused_with(&[6])?;
        }
    }
    Ok(())
}

fn an_unsupported_version_is_code_1(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for plugin in present(case)? {
        let mut versions = vec!["9.9.9", "1.0", "v1.0.0"];
        let older = VERSIONS.into_iter().filter(|version| {
            plugin
                .versions()
                .next()
                .is_some_and(|oldest| *version < oldest)
        });
        versions.extend(older);
        for version in versions {
            let conf = with(&plugin.conf(case, &at, "1.0.0"), "cniVersion", version);
            let error = case.cni("ADD", &at, &conf)?.refused_with(&[1])?;
            let details = error["details"].as_str().unwrap_or_default();
            ensure!(
                details.contains("0.4.0") && details.contains(version),
                "details of {error}"
            );
        }
    }
    Ok(())
}

fn a_verb_above_its_version_is_code_1(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for conf in every_conf(case, &at)? {
        for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
            let conf = with(&conf, "cniVersion", version);
            case.cni(verb, &at, &conf)?.refused_with(&[1])?;
        }
    }
    Ok(())
}

fn a_failure_prints_one_document(case: &Case<'_>) -> Verdict {
    // Call::error parses stdout to its end.
    case.cni("ADD", &nowhere(), &bridge(case))?.error()?;
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let own = Attachment {
            netns: "/proc/self/ns/net".into(),
            ..at
        };
        case.cni("ADD", &own, &conf)?.error()?;
    }
    Ok(())
}

fn an_error_carries_the_version(case: &Case<'_>) -> Verdict {
    let error = case.cni("ADD", &nowhere(), &bridge(case))?.error()?;
    ensure_eq!(error["cniVersion"], "1.0.0", "cniVersion of {error}");
    for conf in every_conf(case, &nowhere())? {
        let call = case.cni("ADD", &nowhere(), &with(&conf, "name", "../x"))?;
        let error = call.error()?;
        ensure!(error["cniVersion"].is_string(), "cniVersion of {error}");
    }
    Ok(())
}

fn a_bad_configuration_is_code_7(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let both = with(
        &with(&bridge(case), "hairpinMode", true),
        "promiscMode",
        true,
    );
    case.cni("ADD", &at, &both)?.refused_with(&[7])?;
    let mut subnet = bridge(case);
    subnet["ipam"]["subnet"] = "10.77.0.0/33".into();
    case.cni("ADD", &at, &subnet)?.refused_with(&[6, 7])?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "a refused ADD left eth0"
    );
    Ok(())
}

fn a_missing_namespace_is_no_internal_error(case: &Case<'_>) -> Verdict {
    let outside = ["host-local", "static", "dhcp", "portmap", "firewall"];
    for plugin in present(case)? {
        if !outside.contains(&plugin.name) {
            let conf = plugin.conf(case, &nowhere(), "1.0.0");
            let call = case.cni("ADD", &nowhere(), &conf)?;
            call.refused_with(&[3, 4, 8])?;
        }
    }
    Ok(())
}

fn status_without_the_delegate_is_code_50(case: &Case<'_>) -> Verdict {
    for plugin in present(case)?.into_iter().filter(|one| one.delegates()) {
        let mut conf = plugin.conf(case, &nowhere(), "1.1.0");
        conf["ipam"] = json!({ "type": "no-such-ipam" });
        case.cni("STATUS", &nowhere(), &conf)?.refused_with(&[50])?;
    }
    Ok(())
}

fn garbage_never_kills_a_plugin(case: &Case<'_>) -> Verdict {
    let deep = format!("{}{}", "{\"a\":".repeat(20_000), "1");
    let conf = |text: &str| {
        format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"type\":\"bridge\",{text}}}")
    };
    let wrong = [
        deep,
        conf("\"mtu\":\"x\""),
        conf("\"ipam\":[]"),
        conf("\"ipam\":{\"type\":\"host-local\",\"ranges\":[[null]]}"),
        conf("\"ipam\":{\"type\":\"\"},\"prevResult\":7"),
        conf("\"ipam\":{\"type\":\"../host-local\"}"),
        conf("\"runtimeConfig\":{\"portMappings\":{}}"),
    ];
    for plugin in present(case)? {
        for text in &wrong {
            let conf = with(&bridge(case), "type", plugin.name);
            let call = case.cni("ADD", &nowhere(), &conf)?;
            let outcome = call.raw_stdin(text.as_str()).run()?;
            let spoke = serde_json::from_slice::<Value>(&outcome.stdout).is_ok();
            ensure!(
                outcome.code().is_some() && spoke,
                "no answer from\n{outcome}"
            );
        }
    }
    Ok(())
}

fn del_says_nothing(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &bridge(case))?;
    ensure!(
        case.holds_inside(&at, "ip link show eth0")?,
        "no eth0 after ADD"
    );
    case.del(&at, &bridge(case))?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 after DEL"
    );
    Ok(())
}

fn the_host_s_own_namespace_is_refused_before_any_change(case: &Case<'_>) -> Verdict {
    let own = Attachment {
        netns: "/proc/self/ns/net".into(),
        ..nowhere()
    };
    let before = case.snapshot()?;
    for conf in every_conf(case, &own)? {
        let error = case.cni("ADD", &own, &conf)?.error()?;
        ensure_eq!(error["code"], 8, "code of {error}");
    }
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

fn the_guard_can_be_overridden(case: &Case<'_>) -> Verdict {
    let own = Attachment {
        netns: "/proc/self/ns/net".into(),
        ifname: "lo".into(),
        ..nowhere()
    };
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "loopback" });
    case.cni("ADD", &own, &conf)?.error()?;
    for value in ["1", "true", "TRUE"] {
        case.cni("ADD", &own, &conf)?
            .env("CNI_NETNS_OVERRIDE", value)
            .result()?;
    }
    Ok(())
}

/// What a result of a version must look like: one address where that version puts it.
fn shaped_as(result: &Value, version: &str, address: &str) -> Verdict {
    ensure_eq!(result["cniVersion"], version, "cniVersion of {result}");
    if version < "0.3.0" {
        ensure_eq!(result["ip4"]["ip"], address, "ip4 of {result}");
        ensure!(
            result.get("ips").is_none() && result.get("interfaces").is_none(),
            "{result}"
        );
        return Ok(());
    }
    ensure_eq!(addresses(result), [address], "ips of {result}");
    let family = result["ips"][0].get("version").and_then(Value::as_str);
    let wanted = if version < "1.0.0" { Some("4") } else { None };
    ensure_eq!(family, wanted, "ips[].version of {result}");
    Ok(())
}

fn bridge_answers_in_the_version_of_the_configuration(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for (number, version) in (2..).zip(VERSIONS) {
        let conf = with(&bridge(case), "cniVersion", version);
        shaped_as(
            &case.add(&at, &conf)?,
            version,
            &format!("10.77.0.{number}/24"),
        )?;
        case.del(&at, &conf)?;
    }
    Ok(())
}

fn host_local_answers_in_the_version_of_the_configuration(case: &Case<'_>) -> Verdict {
    for (number, version) in (2..).zip(VERSIONS) {
        let at = Attachment {
            id: format!("c{number}"),
            ..nowhere()
        };
        let conf = with(&ipam(case), "cniVersion", version);
        shaped_as(
            &case.add(&at, &conf)?,
            version,
            &format!("10.77.0.{number}/24"),
        )?;
    }
    Ok(())
}

fn loopback_answers_in_the_version_of_the_configuration(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for version in VERSIONS {
        let conf = json!({ "cniVersion": version, "name": "net", "type": "loopback" });
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "cniVersion of {result}");
        let place = if version < "0.3.0" {
            &result["ip4"]["ip"]
        } else {
            &result["ips"][0]["address"]
        };
        ensure_eq!(*place, "127.0.0.1/8", "address in {result}");
    }
    Ok(())
}

fn portmap_answers_in_the_version_of_the_configuration(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for version in &VERSIONS[2..] {
        let ip = if *version < "1.0.0" {
            json!({ "version": "4", "address": "10.77.0.2/24" })
        } else {
            json!({ "address": "10.77.0.2/24" })
        };
        let previous = json!({ "cniVersion": version, "interfaces": [], "ips": [ip] });
        let conf = json!({ "cniVersion": version, "name": "net", "type": "portmap" });
        shaped_as(
            &case.add(&at, &with_prev(&conf, &previous))?,
            version,
            "10.77.0.2/24",
        )?;
    }
    Ok(())
}

fn a_result_that_cannot_be_converted_leaves_nothing(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "0.2.0", "name": "net", "type": "bridge", "bridge": "br0" });
    case.cni("ADD", &at, &conf)?.error()?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    ensure_eq!(
        case.sh("ip -o link show type veth | wc -l")?,
        "0",
        "veths left on the host"
    );
    Ok(())
}

fn a_prev_result_of_another_family_is_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "0.4.0", "name": "net", "type": "portmap" });
    let ip = json!({ "version": "4", "address": "10.77.0.2/24" });
    let same = json!({ "cniVersion": "0.3.1", "ips": [ip] });
    let result = case.add(&at, &with_prev(&conf, &same))?;
    ensure_eq!(result["cniVersion"], "0.4.0", "cniVersion of {result}");
    let other = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.77.0.2/24" }] });
    case.cni("ADD", &at, &with_prev(&conf, &other))?.error()?;
    Ok(())
}

fn keys_match_whatever_their_case(case: &Case<'_>) -> Verdict {
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "host-local",
        "ipam": { "type": "host-local", "dataDir": case.path("reservations"), "ranges": [] },
        "runtimeConfig": { "ipRanges": [[{ "Subnet": "10.78.0.0/24", "RangeStart": "10.78.0.50" }]] }
    });
    ensure_eq!(
        addresses(&case.add(&nowhere(), &conf)?),
        ["10.78.0.50/24"],
        "address"
    );
    Ok(())
}

fn an_empty_address_means_unset(case: &Case<'_>) -> Verdict {
    let mut conf = ipam(case);
    conf["ipam"]["gateway"] = "".into();
    conf["ipam"]["rangeStart"] = "".into();
    let result = case.add(&nowhere(), &conf)?;
    ensure_eq!(addresses(&result), ["10.77.0.2/24"], "address");
    ensure_eq!(result["ips"][0]["gateway"], "10.77.0.1", "gateway");
    Ok(())
}

fn cni_args_have_a_strict_grammar(case: &Case<'_>) -> Verdict {
    let conf = ipam(case);
    for args in ["FOO=1", "IP", "IP=10.77.0.9;", "IP=10.77.0.9;FOO=1"] {
        case.cni("ADD", &nowhere(), &conf)?
            .env("CNI_ARGS", args)
            .error()?;
    }
    let args = "IgnoreUnknown=1;FOO=1;IP=10.77.0.9";
    let result = case
        .cni("ADD", &nowhere(), &conf)?
        .env("CNI_ARGS", args)
        .result()?;
    ensure_eq!(addresses(&result), ["10.77.0.9/24"], "address");
    Ok(())
}

fn unknown_reserved_keys_are_ignored(case: &Case<'_>) -> Verdict {
    let conf = with(&ipam(case), "cni.dev/unknown", json!({ "x": 1 }));
    ensure_eq!(
        addresses(&case.add(&nowhere(), &conf)?),
        ["10.77.0.2/24"],
        "address"
    );
    Ok(())
}

fn gc_and_status_take_empty_variables(case: &Case<'_>) -> Verdict {
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    for plugin in serviceable(case)? {
        // STATUS may ask for what ADD would need.
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let mut conf = plugin.conf(case, &at, "1.1.0");
        let result = case.add(&at, &conf)?;
        ensure!(
            !addresses(&result).is_empty(),
            "{} has added nothing: {result}",
            plugin.name
        );
        case.del(&at, &with_prev(&conf, &result))?;
        // libcni gives neither prevResult nor runtimeConfig to these verbs.
        conf.as_object_mut().map(|conf| conf.remove("prevResult"));
        conf["cni.dev/valid-attachments"] = json!([]);
        case.cni("STATUS", &nobody, &conf)?.silent()?;
        case.cni("GC", &nobody, &conf)?.silent()?;
    }
    Ok(())
}

fn nothing_but_the_variables_of_the_specification_is_needed(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    // Call sets PATH and CNI_* only, and the host of a row has / as its working directory.
    let conf = bridge(case);
    let result = case.cni("ADD", &at, &conf)?.env("PATH", "").result()?;
    ensure_eq!(addresses(&result), ["10.77.0.2/24"], "address");
    case.cni("DEL", &at, &conf)?.env("PATH", "").silent()
}
