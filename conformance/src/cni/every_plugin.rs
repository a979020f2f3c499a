//! What every plugin must do once it is asked to work: versions, chains, keys, streams, garbage.

use serde_json::{Map, Value, json};

use super::staged::{Plugin, named, present, previous, serviceable};
use crate::attachment::{Attachment, addresses, with, with_prev};
use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, row};

/// Rows for each plugin alone, so that a kernel that lacks one kind of link skips that one only.
macro_rules! of_each {
    ($($promise:ident: $plugin:literal),+ $(,)?) => {
        $(fn $promise(case: &Case<'_>) -> Verdict {
            answers_in_every_version(case, named($plugin)?)
        })+
    };
}

const SAME_VERSION: &str = "SPEC Success: cniVersion: the same version supplied on input";

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PR04,
        every_invalid_variable_is_named,
        "SPEC error 4: the error message must contain the names of invalid variables"
    ),
    row!(
        Cni,
        PR07,
        a_taken_interface_name_is_refused_by_every_plugin,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
    row!(
        Cni,
        PR14,
        an_unknown_field_is_passed_over_or_named,
        "SPEC error 2: the error message must contain the key and value of the unsupported field"
    ),
    row!(
        Cni,
        PR25,
        every_plugin_ignores_args_it_does_not_know,
        "CONVENTIONS: args: plugins that don't understand that data should just ignore it"
    ),
    row!(
        Cni,
        HL30,
        whatever_status_says_the_other_verbs_are_served,
        "SPEC STATUS: plugins should always expect other operations even if STATUS returns an error"
    ),
    row!(
        Cni,
        PR12,
        success_prints_one_document,
        "SPEC ADD: the plugin must output a result object"
    ),
    row!(
        Cni,
        PR15,
        mutated_documents_never_kill_a_plugin,
        "SPEC: a plugin indicates failure with a nonzero code and an error structure"
    ),
    row!(
        Cni,
        PR16,
        every_verb_but_add_is_silent,
        "SPEC DEL, CHECK, GC, STATUS: success is an exit status of 0 without output"
    ),
    row!(Cni, PR19, ptp_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, macvlan_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, ipvlan_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, vlan_answers_in_every_version, SAME_VERSION),
    row!(
        Cni,
        PR19,
        host_device_answers_in_every_version,
        SAME_VERSION
    ),
    row!(Cni, PR19, dummy_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, tap_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, static_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, tuning_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, firewall_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, bandwidth_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, sbr_answers_in_every_version, SAME_VERSION),
    row!(Cni, PR19, vrf_answers_in_every_version, SAME_VERSION),
    row!(
        Cni,
        PR20,
        no_plugin_leaves_what_it_cannot_tell,
        "SPEC ADD: error: nothing may be left when 0.2.0 cannot express an interface without address"
    ),
    row!(
        Cni,
        PR21,
        chained_plugins_take_results_of_their_family,
        "SPEC: prevResult: the result of the previous plugin, convertible to the version in use"
    ),
    row!(
        Cni,
        PR21,
        a_result_of_1_1_0_is_taken_by_1_0_0,
        "SPEC 1.1.0 only adds properties to the results of 1.0.0"
    ),
    row!(
        Cni,
        PR22,
        capital_keys_are_keys,
        "Go's decoder folds case; go-cni marshals structures without names for JSON"
    ),
    row!(
        Cni,
        PR24,
        every_reader_of_cni_args_is_strict,
        "CONVENTIONS: CNI_ARGS: unknown keys are errors unless IgnoreUnknown is true"
    ),
    row!(
        Cni,
        PR25,
        every_plugin_ignores_reserved_keys,
        "SPEC: keys that start with cni.dev/ are reserved"
    ),
    row!(
        Cni,
        PR26,
        gc_without_a_list_keeps_everything,
        "SPEC GC: cni.dev/valid-attachments says what is valid; without it nothing is known to be stale"
    ),
    row!(
        Cni,
        PR26,
        gc_with_an_empty_list_gives_all_addresses_back,
        "SPEC GC: resources of attachments that are not in cni.dev/valid-attachments are removed"
    ),
    row!(
        Cni,
        PR27,
        sixty_four_mib_take_one_second_and_little_memory,
        "SPEC: network configuration on stdin; a plugin must bound what it reads"
    ),
    row!(
        Cni,
        PR29,
        an_empty_environment_is_enough,
        "SPEC: parameters are CNI_* variables and stdin; no cwd, HOME or locale"
    ),
];

of_each! {
    ptp_answers_in_every_version: "ptp",
    macvlan_answers_in_every_version: "macvlan",
    ipvlan_answers_in_every_version: "ipvlan",
    vlan_answers_in_every_version: "vlan",
    host_device_answers_in_every_version: "host-device",
    dummy_answers_in_every_version: "dummy",
    tap_answers_in_every_version: "tap",
    static_answers_in_every_version: "static",
    tuning_answers_in_every_version: "tuning",
    firewall_answers_in_every_version: "firewall",
    bandwidth_answers_in_every_version: "bandwidth",
    sbr_answers_in_every_version: "sbr",
    vrf_answers_in_every_version: "vrf",
}

/// One attachment for each version: the address is where that version puts it.
fn answers_in_every_version(case: &Case<'_>, plugin: &Plugin) -> Verdict {
    plugin.required(case)?;
    for (number, version) in plugin.compared().enumerate() {
        let at = plugin.stage(case, &format!("c{number}"))?;
        let conf = plugin.conf(case, &at, version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "cniVersion of {result}");
        let address = plugin.address(number);
        if version < "0.3.0" {
            ensure_eq!(result["ip4"]["ip"], address.as_str(), "ip4 of {result}");
            let later = result.get("ips").or(result.get("interfaces"));
            ensure!(later.is_none(), "{result}");
        } else {
            ensure_eq!(addresses(&result), [address], "ips of {result}");
            let family = result["ips"][0].get("version").and_then(Value::as_str);
            let wanted = (version < "1.0.0").then_some("4");
            ensure_eq!(family, wanted, "ips[].version of {result}");
        }
        case.del(&at, &conf)?;
    }
    Ok(())
}

fn every_invalid_variable_is_named(case: &Case<'_>) -> Verdict {
    for plugin in present(case)? {
        let good = case.sandbox(&format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &good, "1.0.0");
        let mut bad = [good.clone(), good.clone()];
        bad[0].id = "../c".into();
        bad[1].ifname = "a/b".into();
        for (at, name) in bad.iter().zip(["CNI_CONTAINERID", "CNI_IFNAME"]) {
            let error = case.cni("ADD", at, &conf)?.refused_with(&[4])?;
            let message = error["msg"].as_str().unwrap_or_default();
            ensure!(message.contains(name), "{name} in {message:?}");
        }
    }
    Ok(())
}

fn a_taken_interface_name_is_refused_by_every_plugin(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)?.into_iter().filter(|one| one.delegates()) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let look = "cat /sys/class/net/eth0/ifindex /sys/class/net/eth0/address";
        let look = format!("ip netns exec {} {look}", at.id);
        case.inside(&at, "ip link add eth0 type veth peer name eth0p")?;
        let there = case.sh(&look)?;
        case.cni("ADD", &at, &conf)?.error()?;
        ensure_eq!(case.sh(&look)?, there, "eth0 after {}", plugin.name);
        // Without it the same is served.
        case.inside(&at, "ip link del eth0")?;
        case.add(&at, &conf)?;
        case.del(&at, &conf)?;
    }
    Ok(())
}

fn an_unknown_field_is_passed_over_or_named(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let odd = with(&conf, "noSuchField", "of-no-meaning");
        let call = case.cni("ADD", &at, &odd)?;
        if call.run()?.success() {
            continue;
        }
        // Not the second time around: the first may have been half done.
        case.cni("DEL", &at, &odd)?.run()?;
        let error = call.refused_with(&[2])?.to_string();
        let named = error.contains("noSuchField") && error.contains("of-no-meaning");
        ensure!(
            named,
            "{} does not say what it does not support: {error}",
            plugin.name
        );
    }
    Ok(())
}

fn every_plugin_ignores_args_it_does_not_know(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let labels = json!([{ "key": "app", "value": "myapp" }]);
        let args = json!({ "cni": { "labels": labels, "x": null }, "else": [{ "y": 1 }] });
        let told = case.add(&at, &with(&conf, "args", args.clone()))?;
        ensure!(!addresses(&told).is_empty(), "{}: {told}", plugin.name);
        case.del(&at, &with(&with_prev(&conf, &told), "args", args))?;
    }
    Ok(())
}

fn whatever_status_says_the_other_verbs_are_served(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)?.into_iter().filter(|one| one.delegates()) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let mut conf = plugin.conf(case, &at, "1.1.0");
        conf["ipam"]["rangeStart"] = "10.77.0.9".into();
        conf["ipam"]["rangeEnd"] = "10.77.0.9".into();
        let added = with_prev(&conf, &case.add(&at, &conf)?);
        case.cni("STATUS", &at, &conf)?.error()?;
        case.cni("CHECK", &at, &added)?.silent()?;
        case.cni("STATUS", &at, &conf)?.error()?;
        case.del(&at, &added)?;
        case.add(&at, &conf)?;
        case.del(&at, &added)?;
    }
    Ok(())
}

fn success_prints_one_document(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        // Call::result parses stdout to its end.
        let result = case.add(&at, &plugin.conf(case, &at, "1.0.0"))?;
        let said = addresses(&result);
        ensure!(
            !said.is_empty(),
            "{} told no address: {result}",
            plugin.name
        );
    }
    Ok(())
}

fn every_verb_but_add_is_silent(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let added = with_prev(&conf, &case.add(&at, &conf)?);
        case.cni("CHECK", &at, &added)?.silent()?;
        case.del(&at, &added)?;
        case.del(&at, &added)?;
    }
    Ok(())
}

fn no_plugin_leaves_what_it_cannot_tell(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        if !plugin.delegates() {
            continue;
        }
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let mut conf = plugin.conf(case, &at, "0.2.0");
        conf.as_object_mut().map(|conf| conf.remove("ipam"));
        let before = case.snapshot()?;
        case.cni("ADD", &at, &conf)?.error()?;
        let difference = before.difference(&case.snapshot()?).join("\n");
        ensure!(difference.is_empty(), "{} left:\n{difference}", plugin.name);
        let inside = case.inside(&at, "ip -o link | wc -l")?;
        ensure_eq!(inside, "1", "links that {} left inside", plugin.name);
    }
    Ok(())
}

fn chained(case: &Case<'_>) -> Verdict<Vec<&'static Plugin>> {
    let mut all = serviceable(case)?;
    all.retain(|plugin| plugin.is_chained());
    ensure!(!all.is_empty(), "the directory has no chained plugin");
    Ok(all)
}

fn chained_plugins_take_results_of_their_family(case: &Case<'_>) -> Verdict {
    for plugin in chained(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "0.4.0");
        let other = with_prev(&conf, &previous(&at, "1.0.0"));
        case.cni("ADD", &at, &other)?.error()?;
        let result = case.add(&at, &with_prev(&conf, &previous(&at, "0.3.1")))?;
        ensure_eq!(result["cniVersion"], "0.4.0", "cniVersion of {result}");
    }
    Ok(())
}

fn a_result_of_1_1_0_is_taken_by_1_0_0(case: &Case<'_>) -> Verdict {
    for plugin in chained(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let result = case.add(&at, &with_prev(&conf, &previous(&at, "1.1.0")))?;
        ensure_eq!(result["cniVersion"], "1.0.0", "cniVersion of {result}");
    }
    Ok(())
}

/// Every key with a capital letter, as Go prints structures without names for JSON; the names of
/// sysctls are values.
fn capitalized(value: &Value) -> Value {
    let capital = |key: &String| {
        let (first, rest) = key.split_at(1);
        first.to_uppercase() + rest
    };
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| match key.as_str() {
                "sysctl" => ("Sysctl".to_owned(), value.clone()),
                // In the reference's `static` two fields share this key, told apart by case.
                "address" => (key.clone(), value.clone()),
                _ => (capital(key), capitalized(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(array) => array.iter().map(capitalized).collect(),
        other => other.clone(),
    }
}

fn capital_keys_are_keys(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let call = case.cni("ADD", &at, &conf)?.stdin(&capitalized(&conf));
        let result = call.result()?;
        ensure!(!addresses(&result).is_empty(), "{}: {result}", plugin.name);
        let del = case.cni("DEL", &at, &conf)?.stdin(&capitalized(&conf));
        del.silent()?;
    }
    Ok(())
}

fn every_reader_of_cni_args_is_strict(case: &Case<'_>) -> Verdict {
    let readers = ["host-local", "static", "bridge", "macvlan", "tap", "tuning"];
    for plugin in serviceable(case)? {
        if !readers.contains(&plugin.name) {
            continue;
        }
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        for args in ["FOO=1", "FOO", "IgnoreUnknown=1;", "IgnoreUnknown=maybe"] {
            let call = case.cni("ADD", &at, &conf)?.env("CNI_ARGS", args);
            call.error()?;
        }
        let args = "IgnoreUnknown=true;FOO=1";
        let call = case.cni("ADD", &at, &conf)?.env("CNI_ARGS", args);
        call.result()?;
    }
    Ok(())
}

fn every_plugin_ignores_reserved_keys(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let conf = with(&conf, "cni.dev/unknown", json!({ "x": [1] }));
        case.add(&at, &conf)?;
        case.del(&at, &conf)?;
    }
    Ok(())
}

/// GC as libcni calls it: no attachment, no prevResult; `valid` is the list, if there is one.
fn gc(case: &Case<'_>, conf: &Value, valid: Option<Value>) -> Verdict {
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    let mut conf = conf.clone();
    if let Some(object) = conf.as_object_mut() {
        object.remove("prevResult");
        object.remove("runtimeConfig");
    }
    if let Some(valid) = valid {
        conf["cni.dev/valid-attachments"] = valid;
    }
    case.cni("GC", &nobody, &conf)?.silent()
}

fn gc_without_a_list_keeps_everything(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.1.0");
        let result = case.add(&at, &conf)?;
        let before = case.snapshot()?;
        gc(case, &conf, None)?;
        let difference = before.difference(&case.snapshot()?).join("\n");
        ensure!(
            difference.is_empty(),
            "{} changed:\n{difference}",
            plugin.name
        );
        case.cni("CHECK", &at, &with_prev(&conf, &result))?
            .silent()?;
    }
    Ok(())
}

fn gc_with_an_empty_list_gives_all_addresses_back(case: &Case<'_>) -> Verdict {
    let asking = |plugin: &&Plugin| plugin.delegates() || plugin.name == "host-local";
    for plugin in serviceable(case)?.into_iter().filter(asking) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.1.0");
        case.add(&at, &conf)?;
        let valid = json!([{ "containerID": at.id, "ifname": at.ifname }]);
        gc(case, &conf, Some(valid))?;
        let reserved = || crate::attachment::reserved(case, "net");
        ensure_eq!(
            reserved()?.len(),
            1,
            "reservations with {} valid",
            plugin.name
        );
        gc(case, &conf, Some(json!([])))?;
        ensure_eq!(
            reserved()?.len(),
            0,
            "reservations after {}'s GC",
            plugin.name
        );
    }
    Ok(())
}

/// Time on the processor, for the machine may have other work; less memory than the document.
fn sixty_four_mib_take_one_second_and_little_memory(case: &Case<'_>) -> Verdict {
    let suite = std::env::current_exe()?.to_string_lossy().into_owned();
    let used = case.path("used");
    let spaces = case.path("spaces");
    let string = case.path("string");
    case.sh(&format!(
        "head -c 67108864 /dev/zero | tr '\\0' ' ' > {spaces}
         {{ printf '{{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"x\":\"'
           head -c 67108864 /dev/zero | tr '\\0' x; printf '\"}}'; }} > {string}"
    ))?;
    for plugin in present(case)? {
        let at = Attachment {
            id: "c1".into(),
            netns: "/run/netns/nowhere".into(),
            ifname: "eth0".into(),
        };
        let conf = plugin.conf(case, &at, "1.0.0");
        for file in [&spaces, &string] {
            let call = case.cni("ADD", &at, &conf)?;
            let call = call.within(&[&suite, crate::MEASURED, &used]);
            let fed = format!("exec \"$@\" < {file}");
            let outcome = call.within(&["sh", "-c", &fed, "sh"]).run()?.refuses()?;
            let _: Value = serde_json::from_slice(&outcome.stdout)?;
            let usage = testbed::measured::usage(used.as_ref())?;
            ensure!(
                usage.cpu.as_secs() == 0 && usage.peak < 64 << 20,
                "{usage:?} of\n{outcome}"
            );
        }
    }
    Ok(())
}

fn an_empty_environment_is_enough(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        // Call sets PATH and CNI_* only, and the host of a row has / as its working directory.
        let call = case.cni("ADD", &at, &conf)?.env("PATH", "");
        let added = with_prev(&conf, &call.result()?);
        let call = case.cni("CHECK", &at, &added)?.env("PATH", "");
        call.silent()?;
        case.cni("DEL", &at, &added)?.env("PATH", "").silent()?;
    }
    Ok(())
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

/// How many documents each plugin gets.
const MUTATIONS: usize = 200;

/// A value that some decoder has stumbled over.
fn odd(dice: &mut Dice) -> Value {
    match dice.roll(14) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(1e300),
        3 => json!(u64::MAX),
        4 => json!(""),
        5 => json!("\u{0}\u{7f}\u{2028}%s%n"),
        6 => json!("x".repeat(70_000)),
        7 => json!([]),
        8 => json!({}),
        9 => json!([null]),
        10 => json!(true),
        11 => json!("::ffff:0.0.0.0/0"),
        12 => json!("255.255.255.255/32"),
        _ => (0..500).fold(json!(0), |inner, _| json!([inner])),
    }
}

/// Puts something odd in one place of a document.
fn mutate(value: &mut Value, dice: &mut Dice) {
    let deeper = dice.roll(4) > 0;
    match value {
        Value::Object(object) if deeper && !object.is_empty() => {
            let at = dice.roll(object.len());
            let Some(key) = object.keys().nth(at).cloned() else {
                return;
            };
            match dice.roll(8) {
                0 => drop(object.remove(&key)),
                1 => {
                    let value = object[&key].clone();
                    object.insert(key.to_uppercase(), value);
                }
                _ => mutate(&mut object[&key], dice),
            }
        }
        Value::Array(array) if deeper && !array.is_empty() => {
            let at = dice.roll(array.len());
            match dice.roll(6) {
                0 => array.push(array[at].clone()),
                1 => array.push(Value::Null),
                _ => mutate(&mut array[at], dice),
            }
        }
        place => *place = odd(dice),
    }
}

/// The text of a mutated document; some are damaged as bytes as well.
fn mutated(conf: &Value, dice: &mut Dice) -> Vec<u8> {
    let mut conf = conf.clone();
    for _ in 0..=dice.roll(3) {
        mutate(&mut conf, dice);
    }
    let mut bytes = conf.to_string().into_bytes();
    match dice.roll(8) {
        0 => bytes.truncate(dice.roll(bytes.len())),
        1 => {
            let at = dice.roll(bytes.len());
            bytes[at] = dice.roll(256) as u8;
        }
        _ => {}
    }
    bytes
}

fn mutated_documents_never_kill_a_plugin(case: &Case<'_>) -> Verdict {
    // A path in a mutated document may name any place: only this row's own are writable.
    let own = case.path("");
    case.sh(&format!(
        "mount --bind {own} {own}; mount -o remount,bind,ro /; mkdir -p /run/cni"
    ))?;
    for plugin in present(case)? {
        let at = match plugin.lacking(case)? {
            None => plugin.stage(case, &format!("c-{}", plugin.name))?,
            Some(_) => case.sandbox(&format!("c-{}", plugin.name))?,
        };
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for number in 0..MUTATIONS {
            let version = ["1.0.0", "1.1.0"][number / 6 % 2];
            let conf = plugin.conf(case, &at, version);
            let verb = ["ADD", "DEL", "CHECK", "ADD", "GC", "STATUS"][number % 6];
            let text = mutated(&conf, &mut dice);
            let call = case.cni(verb, &at, &conf)?.raw_stdin(text);
            let outcome = call.run()?;
            let documents = serde_json::Deserializer::from_slice(&outcome.stdout);
            let documents: Result<Vec<Value>, _> = documents.into_iter().collect();
            let said = documents.map_err(|error| Failure(format!("{error} in\n{outcome}")))?;
            let wanted = usize::from(!outcome.success() || verb == "ADD");
            ensure!(
                outcome.code().is_some() && said.len() == wanted,
                "{wanted} document and an exit status were due from\n{outcome}"
            );
            ensure!(outcome.took.as_secs() < 15, "too slow:\n{outcome}");
        }
    }
    Ok(())
}
