//! Finding a network and its plugins: files, directories, names, versions.

use serde_json::{Value, json};

use super::desk::{Desk, network};
use crate::attachment::with;
use crate::case::Case;
use crate::recorder::Plugin;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Caller,
        LB01,
        lists_come_before_single_plugins_and_files_in_order,
        "libcni LoadNetworkConf: *.conflist in the order of names, then *.conf and *.json"
    ),
    row!(
        Caller,
        LB01,
        a_single_plugin_is_a_list_of_one,
        "libcni ConfListFromConf: a single configuration becomes a list with its name and version"
    ),
    row!(
        Caller,
        LB01,
        odd_but_legal_names_are_names,
        "SPEC section 1: a name begins with a letter or digit, then letters, digits, _ . -"
    ),
    row!(
        Caller,
        LB02,
        plugins_of_the_directory_follow_the_inlined_ones,
        "libcni: <directory>/<network name>/*.conf are appended, unless loadOnlyInlinedPlugins"
    ),
    row!(
        Caller,
        LB02,
        a_plugin_file_that_makes_no_sense_stops_its_network,
        "SPEC section 1: all aggregated plugin configuration objects must be validated"
    ),
    row!(
        Caller,
        LB03,
        flags_may_be_texts,
        "SPEC 1.1.0: disableCheck, disableGC, loadOnlyInlinedPlugins: boolean, or text true or false"
    ),
    row!(
        Caller,
        LB04,
        a_broken_file_hides_no_other_network,
        "a half-written file of one network must not stop the others (nerdctl#3501)"
    ),
    row!(
        Caller,
        LB05,
        the_highest_known_version_is_spoken,
        "SPEC 1.1.0 cniVersions: the runtime should pick the newest version that it supports"
    ),
    row!(
        Caller,
        LB06,
        a_name_leads_out_of_no_directory,
        "SPEC section 1: the name of a network holds no slash; it becomes part of paths"
    ),
    row!(
        Caller,
        LB07,
        what_cannot_be_executed_is_no_plugin,
        "SPEC section 3: the runtime looks for an executable in the directories of CNI_PATH"
    ),
    row!(
        Caller,
        LB08,
        a_type_holds_no_path,
        "SPEC section 1: type: name of the binary on disk; must not contain characters of a path"
    ),
];

/// A network whose plugins are called so.
fn list(name: &str, plugins: &[&str]) -> Value {
    let plugins: Vec<Value> = plugins.iter().map(|kind| json!({ "type": kind })).collect();
    json!({ "cniVersion": "1.0.0", "name": name, "plugins": plugins })
}

/// Plugins of these names beside `one` and `two`.
fn with_plugins<'a>(case: &'a Case<'a>, names: &[&str]) -> Verdict<Desk<'a>> {
    let desk = Desk::new(case)?;
    for name in names {
        desk.recorder.install(&Plugin::named(name))?;
    }
    Ok(desk)
}

/// Who is asked by an ADD to `network`, which is deleted again.
fn added_by(desk: &Desk<'_>, network: &str) -> Verdict<Vec<String>> {
    desk.recorder.forget()?;
    desk.case.call(&desk.call("add", network)?)?.succeeds()?;
    let asked = desk.recorder.asked()?;
    desk.case.call(&desk.call("del", network)?)?.succeeds()?;
    Ok(asked)
}

fn lists_come_before_single_plugins_and_files_in_order(case: &Case<'_>) -> Verdict {
    let desk = with_plugins(case, &["three", "four"])?;
    let single = |kind| json!({ "cniVersion": "1.0.0", "name": "net", "type": kind });
    desk.configure("30.json", &single("four"))?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD four"], "with a .json alone");
    desk.configure("00.conf", &single("three"))?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD three"], "00.conf, 30.json");
    desk.configure("20.conflist", &list("net", &["two"]))?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD two"], "with a list");
    desk.configure("10.conflist", &list("net", &["one"]))?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD one"], "with two lists");
    desk.configure("05.conflist.bak", &list("net", &["two"]))?;
    desk.configure("06.conflist/x.conflist", &list("net", &["two"]))?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD one"], "with other files");
    let other = desk.call("add", "absent")?;
    case.call(&other)?.refuses()?.says(&["absent"])?;
    Ok(())
}

fn a_single_plugin_is_a_list_of_one(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let single = json!({
        "cniVersion": "0.4.0", "name": "net", "type": "one", "own": { "a": [true, 1.5] }
    });
    desk.configure("10.conf", &single)?;
    desk.add()?;
    let request = desk.recorder.last("ADD", "one")?.request()?;
    ensure_eq!(request, single, "stdin of ADD");
    desk.unconfigure("10.conf")?;
    desk.run("del")?.succeeds()?;
    let request = desk.recorder.last("DEL", "one")?.request()?;
    ensure_eq!(request["own"], single["own"], "own key at DEL");
    Ok(())
}

fn odd_but_legal_names_are_names(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    for (file, name) in [
        (".hidden.conflist", "a.b"),
        ("with space.conflist", "0_-"),
        ("a.b.c.conflist", "Z-9..x"),
    ] {
        desk.configure(file, &list(name, &["one"]))?;
        ensure_eq!(added_by(&desk, name)?, ["ADD one"], "{name} in {file}");
        ensure_eq!(desk.cached()?.len(), 0, "files in the cache after {name}");
    }
    let odd = desk
        .call("add", "a.b")?
        .env("CNI_IFNAME", "a-b.c_d@e+f=g!h");
    case.call(&odd)?.succeeds()?;
    let added = desk.recorder.last("ADD", "one")?;
    ensure_eq!(added.env("CNI_IFNAME"), "a-b.c_d@e+f=g!h", "interface");
    Ok(())
}

fn plugins_of_the_directory_follow_the_inlined_ones(case: &Case<'_>) -> Verdict {
    let desk = with_plugins(case, &["three", "four"])?;
    desk.configure("10.conflist", &list("net", &["one"]))?;
    desk.configure("net/20.conf", &json!({ "type": "three" }))?;
    desk.configure("net/10.conf", &json!({ "type": "two", "own": 7 }))?;
    desk.configure("net/30.txt", &json!({ "type": "four" }))?;
    desk.configure("other/10.conf", &json!({ "type": "four" }))?;
    let all = ["ADD one", "ADD two", "ADD three"];
    ensure_eq!(added_by(&desk, "net")?, all, "inlined and beside");
    let only = with(&list("net", &["one"]), "loadOnlyInlinedPlugins", true);
    desk.configure("10.conflist", &only)?;
    ensure_eq!(added_by(&desk, "net")?, ["ADD one"], "inlined only");
    let none = json!({ "cniVersion": "1.0.0", "name": "net" });
    desk.configure("10.conflist", &none)?;
    let beside = ["ADD two", "ADD three"];
    ensure_eq!(added_by(&desk, "net")?, beside, "none inlined");
    let request = desk.recorder.last("ADD", "two")?.request()?;
    ensure_eq!(request["own"], 7, "a key of its file");
    Ok(())
}

fn a_plugin_file_that_makes_no_sense_stops_its_network(case: &Case<'_>) -> Verdict {
    let desk = with_plugins(case, &["three"])?;
    desk.configure("10.conflist", &list("net", &["one"]))?;
    desk.configure("20.conflist", &list("other", &["one"]))?;
    for wrong in ["{", "[]", "{}", r#"{"type":""}"#, r#"{"type":"../three"}"#] {
        desk.configure_raw("net/10.conf", wrong)?;
        let refused = desk.run("add")?;
        ensure!(refused.refused(), "with {wrong}: {refused}");
        let asked = desk.recorder.asked()?;
        let before = asked.iter().any(|call| call.starts_with("ADD"));
        ensure!(!before, "calls with {wrong}: {asked:?}");
        // A neighbour has files of its own.
        ensure_eq!(added_by(&desk, "other")?, ["ADD one"], "the other network");
        desk.recorder.forget()?;
    }
    desk.configure("net/10.conf", &json!({ "type": "three" }))?;
    let both = ["ADD one", "ADD three"];
    ensure_eq!(added_by(&desk, "net")?, both, "once it makes sense");
    Ok(())
}

fn flags_may_be_texts(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    desk.configure("net/10.conf", &json!({ "type": "two" }))?;
    let mut flagged = with(&list("net", &["one"]), "cniVersion", "1.1.0");
    for key in ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] {
        flagged[key] = "TRUE".into();
    }
    desk.configure("10.conflist", &flagged)?;
    for verb in ["add", "check", "gc"] {
        desk.run(verb)?.succeeds()?;
    }
    ensure_eq!(desk.recorder.asked()?, ["ADD one"], "calls with TRUE");
    for key in ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] {
        flagged[key] = "False".into();
    }
    desk.configure("10.conflist", &flagged)?;
    desk.run("check")?.succeeds()?;
    let asked = desk.recorder.asked()?;
    ensure_eq!(asked[1..], ["CHECK one", "CHECK two"], "calls with False");
    for wrong in [json!("maybe"), json!(1), json!([])] {
        desk.configure("10.conflist", &with(&flagged, "disableCheck", wrong))?;
        desk.run("check")?.refuses()?.says(&["disableCheck"])?;
    }
    Ok(())
}

fn a_broken_file_hides_no_other_network(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    desk.configure_raw("00.conflist", "{\"name\": \"half\", \"plug")?;
    desk.configure_raw("01.conf", "")?;
    desk.configure("02.conflist", &json!({ "name": "no-plugins" }))?;
    desk.configure("10.conflist", &network())?;
    desk.add()?;
    let refused = case.call(&desk.call("add", "half")?)?.refuses()?;
    // Whoever looks for it learns why it is not there.
    refused.says(&["00.conflist"])?;
    Ok(())
}

fn the_highest_known_version_is_spoken(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    for (versions, wanted) in [
        (json!(["0.4.0", "1.1.0", "9.9.9"]), "1.1.0"),
        (json!(["0.3.1", "0.4.0"]), "1.0.0"),
        (json!(["9.9.9"]), "1.0.0"),
    ] {
        desk.configure("10.conflist", &with(&network(), "cniVersions", versions))?;
        let result = desk.add()?;
        for plugin in ["one", "two"] {
            let request = desk.recorder.last("ADD", plugin)?.request()?;
            ensure_eq!(request["cniVersion"], wanted, "version of {plugin}");
        }
        ensure_eq!(result["cniVersion"], wanted, "version of the result");
        desk.run("del")?.succeeds()?;
    }
    Ok(())
}

fn a_name_leads_out_of_no_directory(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    for (number, name) in ["../../x", "a/b", "..", "-a", "a b", ""].iter().enumerate() {
        desk.configure(&format!("{number}.conflist"), &list(name, &["one"]))?;
        for verb in ["add", "del", "check"] {
            case.call(&desk.call(verb, name)?)?.refuses()?;
        }
    }
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls");
    let stray = case.sh("find /var/lib -type f | grep -v /locks/ || :")?;
    ensure_eq!(stray, "", "files");
    ensure_eq!(added_by_a_good_name(&desk)?, ["ADD one"], "a good name");
    Ok(())
}

fn added_by_a_good_name(desk: &Desk<'_>) -> Verdict<Vec<String>> {
    desk.configure("99.conflist", &list("good", &["one"]))?;
    added_by(desk, "good")
}

fn what_cannot_be_executed_is_no_plugin(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    let first = case.path("first");
    case.sh(&format!(
        "mkdir -p {first}/one; echo 'exit 3' > {first}/two; chmod 644 {first}/two"
    ))?;
    let plugins = desk.recorder.directory().to_string_lossy().into_owned();
    let path = format!("{}:{first}:{plugins}", case.path("nowhere"));
    let call = desk.call("add", "net")?.env("CNI_PATH", path.clone());
    case.call(&call)?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["ADD one", "ADD two"], "calls");
    let told = desk.recorder.last("ADD", "two")?;
    ensure_eq!(told.env("CNI_PATH"), path, "CNI_PATH of the plugins");
    desk.run("del")?.succeeds()?;
    desk.recorder.forget()?;
    let call = desk.call("add", "net")?.env("CNI_PATH", first);
    let refused = case.call(&call)?.refuses()?;
    refused.says(&["one"])?.says(&["failed to find plugin"])?;
    Ok(())
}

fn a_type_holds_no_path(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    case.sh(&format!(
        "ln -s {0}/one {1}/outside; mkdir {0}/below; ln -s {0}/one {0}/below/one",
        desk.recorder.directory().display(),
        case.dir().display()
    ))?;
    for kind in ["../outside", "below/one", "/bin/true", ".", "..", ""] {
        desk.configure("10.conflist", &list("net", &["two", kind]))?;
        for verb in ["add", "status"] {
            let version = if verb == "add" { "1.0.0" } else { "1.1.0" };
            let list = with(&list("net", &["two", kind]), "cniVersion", version);
            desk.configure("10.conflist", &list)?;
            desk.run(verb)?.refuses()?;
        }
        let ran = desk.recorder.asked()?;
        let wrong = ran
            .iter()
            .any(|call| call.ends_with("one") || call == "ADD two");
        ensure!(!wrong, "calls with {kind:?}: {ran:?}");
    }
    Ok(())
}
