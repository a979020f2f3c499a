//! cnitool's command line: words, variables, the container's name.

use serde_json::json;

use super::desk::Desk;
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Caller,
        LB30,
        the_container_is_named_after_its_namespace,
        "cnitool: CNI_CONTAINERID is cnitool- and the SHA-512 of the namespace's path, 20 digits"
    ),
    row!(
        Caller,
        LB30,
        arguments_are_variables,
        "cnitool: CNI_ARGS, CAP_ARGS and CNI_IFNAME reach the plugins that have the capability"
    ),
    row!(
        Caller,
        LB30,
        what_both_sides_know_is_in_runtime_config,
        "SPEC, deriving runtimeConfig: any capability supported by the plugin configuration and provided by the runtime should be inserted"
    ),
    row!(
        Caller,
        LB30,
        the_container_has_a_legal_name,
        "SPEC, attachment parameters: Container ID: must not be empty, must start with an alphanumeric character"
    ),
    row!(
        Caller,
        LB30,
        a_slip_in_the_arguments_is_told_before_a_plugin_runs,
        "cnitool: CNI_ARGS is K=V;K=V and CAP_ARGS an object; what is not is refused"
    ),
];

fn the_container_is_named_after_its_namespace(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    // /var/run is /run on every system; the name goes by the path as it was given.
    case.host.netns("test")?;
    let call = desk.call_for("add", "net", "/var/run/netns/test")?;
    case.call(&call)?.succeeds()?;
    for plugin in ["one", "two"] {
        let added = desk.recorder.last("ADD", plugin)?;
        let id = added.env("CNI_CONTAINERID");
        ensure_eq!(id, "cnitool-7b8a61d5d8e94d07cbe4", "container of {plugin}");
        ensure_eq!(added.env("CNI_NETNS"), "/var/run/netns/test", "namespace");
        ensure_eq!(added.env("CNI_IFNAME"), "eth0", "interface");
        let path = desk.recorder.directory().to_string_lossy();
        ensure_eq!(added.env("CNI_PATH"), path, "path of plugins");
        ensure_eq!(added.argv, "", "arguments of {plugin}");
    }
    Ok(())
}

fn arguments_are_variables(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let capabilities = json!({ "portMappings": true, "bandwidth": false });
    desk.configure(
        "10.conflist",
        &json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [
            { "type": "one" }, { "type": "two", "capabilities": capabilities }
        ] }),
    )?;
    let mappings = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let given = json!({ "portMappings": mappings, "bandwidth": { "ingressRate": 8 } });
    let call = desk
        .call("add", "net")?
        .env("CNI_ARGS", "IgnoreUnknown=1;IP=10.0.0.9")
        .env("CAP_ARGS", given.to_string())
        .env("CNI_IFNAME", "net7");
    case.call(&call)?.succeeds()?;
    let (one, two) = (
        desk.recorder.last("ADD", "one")?,
        desk.recorder.last("ADD", "two")?,
    );
    for added in [&one, &two] {
        ensure_eq!(
            added.env("CNI_ARGS"),
            "IgnoreUnknown=1;IP=10.0.0.9",
            "CNI_ARGS"
        );
        ensure_eq!(added.env("CNI_IFNAME"), "net7", "CNI_IFNAME");
    }
    let absent = one.request()?.get("runtimeConfig").is_none();
    ensure!(absent, "one has no capability and got {}", one.stdin);
    let wanted = json!({ "portMappings": mappings });
    ensure_eq!(
        two.request()?["runtimeConfig"],
        wanted,
        "runtimeConfig of two"
    );
    Ok(())
}

fn what_both_sides_know_is_in_runtime_config(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let knows = json!({ "type": "one", "capabilities": { "portMappings": true, "ips": true } });
    let list = json!({
        "cniVersion": "1.0.0", "name": "net", "plugins": [knows, { "type": "two" }]
    });
    desk.configure("10.conflist", &list)?;
    let mappings = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let given = json!({ "portMappings": mappings, "bandwidth": { "ingressRate": 8 } });
    let call = desk.call("add", "net")?.env("CAP_ARGS", given.to_string());
    case.call(&call)?.succeeds()?;
    let one = desk.recorder.last("ADD", "one")?.request()?;
    ensure_eq!(
        one["runtimeConfig"],
        json!({ "portMappings": mappings }),
        "runtimeConfig of one"
    );
    Ok(())
}

fn the_container_has_a_legal_name(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    for name in ["-odd", "od d", "\u{e9}"] {
        case.sh(&format!(
            "touch '/run/{name}'; mount --bind {} '/run/{name}'",
            desk.netns
        ))?;
        let call = desk.call_for("add", "net", &format!("/run/{name}"))?;
        case.call(&call)?.succeeds()?;
        let added = desk.recorder.last("ADD", "one")?;
        let id = added.env("CNI_CONTAINERID");
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        ensure!(
            id.starts_with(|first: char| first.is_ascii_alphanumeric()) && id.chars().all(legal),
            "the container at /run/{name} is {id:?}"
        );
    }
    Ok(())
}

fn a_slip_in_the_arguments_is_told_before_a_plugin_runs(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    for (name, value) in [
        ("CNI_ARGS", "IP"),
        ("CNI_ARGS", "A=1;;B=2"),
        ("CAP_ARGS", "{"),
        ("CAP_ARGS", "[]"),
    ] {
        let call = desk.call("add", "net")?.env(name, value);
        case.call(&call)?
            .refuses()?
            .says(&[name, "invalid", "parse", "unmarshal"])?;
        ensure_eq!(desk.recorder.asked()?.len(), 0, "calls with {name}={value}");
    }
    desk.add()?;
    Ok(())
}
