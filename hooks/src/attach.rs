//! Attaching a container to several networks: what each plugin list is told, then the lists one
//! after the other. Either all of them are attached afterwards, or none.
//!
//! What an address, a port or a name means is `annotations`; running one list is `libcni`'s part.

use anyhow::{Context, anyhow, bail, ensure};
use cni::{Attachment, ContainerId};
use libcni::{CachedAttachment, Caller, NetworkList, RuntimeConf};
use serde_json::{Map, Value, json};

use crate::annotations::{NETWORKS, PORTS, Wanted, WantedNetwork};
use crate::ports;
use crate::timings::Timings;

/// One network of a container.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its plugins.
    pub list: NetworkList,
    /// What they are told.
    pub conf: RuntimeConf,
}

/// What all networks of a container are told alike.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The container towards CNI.
    pub id: ContainerId,
    /// Its namespace.
    pub netns: String,
    /// What is in `CNI_ARGS` beside addresses.
    pub args: Vec<(String, String)>,
}

/// A network as it was attached.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The network and the interface.
    pub step: Step,
    /// The result, whatever version it was written in.
    pub result: cni::Result,
}

/// Which list is run with what; `lists` are those of `wanted.networks`, in the same order.
pub fn plan(
    lists: Vec<NetworkList>,
    wanted: &Wanted,
    subject: &Subject,
) -> anyhow::Result<Vec<Step>> {
    // One network publishes the ports: two would fight for the same ones of the host.
    let publisher = lists.iter().position(|list| has(list, "portMappings"));
    ensure!(
        wanted.ports.is_empty() || publisher.is_some(),
        "annotation {PORTS}: no network of the container has the capability portMappings"
    );
    if let Some(index) = publisher {
        refuse_family(&lists[index], &wanted.networks[index], &wanted.ports)?;
    }
    let steps = lists.into_iter().zip(&wanted.networks).enumerate();
    let step = |(index, (list, network)): (usize, (NetworkList, &WantedNetwork))| {
        let mut conf = RuntimeConf {
            attachment: Attachment {
                container_id: subject.id.clone(),
                ifname: format!("eth{index}").parse()?,
            },
            netns: subject.netns.clone(),
            args: subject.args.clone(),
            capability_args: capability_args(&list, wanted, network),
        };
        conf.args.extend(args(&list, network)?);
        if publisher == Some(index) && !wanted.ports.is_empty() {
            let mappings = ports::mappings(&wanted.ports);
            conf.capability_args.insert("portMappings".into(), mappings);
        }
        Ok(Step { list, conf })
    };
    steps.map(step).collect()
}

/// Whether a plugin of the list has the capability switched on.
fn has(list: &NetworkList, capability: &str) -> bool {
    let mut plugins = list.plugins.iter();
    plugins.any(|plugin| plugin.capabilities.get(capability) == Some(&true))
}

/// Refuses to publish at an address of a family in which the container will have none, as far as
/// the list's address plugins tell: the plugin would make no rule, and say nothing.
fn refuse_family(
    list: &NetworkList,
    network: &WantedNetwork,
    ports: &[ports::Port],
) -> anyhow::Result<()> {
    let Some(nets) = crate::network::all_nets(list) else {
        return Ok(());
    };
    let has = |is_ipv4: bool| {
        let mut asked = network.ips.iter().map(std::net::IpAddr::is_ipv4);
        asked.any(|v4| v4 == is_ipv4) || nets.iter().any(|net| net.addr().is_ipv4() == is_ipv4)
    };
    let mut addresses = ports.iter().filter_map(|port| port.host_ip);
    if let Some(ip) = addresses.find(|ip| !has(ip.is_ipv4())) {
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        bail!(
            "annotation {PORTS}: {ip}: network {:?} gives its containers no {family} addresses",
            list.name.as_str()
        );
    }
    Ok(())
}

/// `CNI_ARGS` can hold one address, and host-local reads it there in every version.
fn args(list: &NetworkList, network: &WantedNetwork) -> anyhow::Result<Vec<(String, String)>> {
    let name = &network.name;
    ensure!(
        network.ips.len() < 2 || has(list, "ips"),
        "annotation {NETWORKS}: {name}: a second ip needs the capability ips, which no plugin of \
         the network has"
    );
    let ip = network.ips.first().map(|ip| ("IP", ip.to_string()));
    let mac = network.mac.clone().filter(|_| !has(list, "mac"));
    let given = ip.into_iter().chain(mac.map(|mac| ("MAC", mac)));
    Ok(given.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// What the capabilities of the list can carry; the conventions' names.
fn capability_args(
    list: &NetworkList,
    wanted: &Wanted,
    network: &WantedNetwork,
) -> Map<String, Value> {
    let aliases: Vec<_> = wanted.aliases.iter().chain(&network.aliases).collect();
    let dns = &wanted.dns;
    let known = [
        ("ips", json!(network.ips), network.ips.is_empty()),
        ("mac", json!(network.mac), network.mac.is_none()),
        ("aliases", json!(aliases), aliases.is_empty()),
        (
            "dns",
            json!({"servers": dns.nameservers, "searches": dns.search, "options": dns.options}),
            dns.is_empty(),
        ),
    ];
    let given = known
        .into_iter()
        .filter(|(name, _, is_empty)| !is_empty && has(list, name));
    given
        .map(|(name, value, _)| (name.to_owned(), value))
        .collect()
}

/// Attaches to all networks in order; if one fails, those of this call are detached in reverse.
pub fn attach(
    caller: &Caller,
    plan: &[Step],
    timings: &mut Timings,
) -> anyhow::Result<Vec<Attached>> {
    let mut attached = Vec::new();
    for step in plan {
        match one(caller, step, timings) {
            Ok(one) => attached.push(one),
            Err(error) => {
                // libcni has undone this network; the earlier ones are ours to undo.
                let stuck = detach(caller, &attached, timings);
                return Err(with_stuck(error, "undo", &stuck));
            }
        }
    }
    Ok(attached)
}

fn one(caller: &Caller, step: &Step, timings: &mut Timings) -> anyhow::Result<Attached> {
    let Step { list, conf } = step;
    let added = timings.step(&format!("attach {}", list.name), || caller.add(list, conf));
    let told = || {
        format!(
            "attach {}: network {:?}",
            conf.attachment,
            list.name.as_str()
        )
    };
    let json = added.with_context(told)?;
    let result = cni::Result::from_json(&json, list.cni_version);
    Ok(Attached {
        step: step.clone(),
        result: result.with_context(told)?,
    })
}

/// Detaches what was attached, in reverse, whatever becomes of each; the errors. What another
/// container of the same ID has taken over stays.
pub fn detach(caller: &Caller, attached: &[Attached], timings: &mut Timings) -> Vec<String> {
    let one = |Attached { step, .. }: &Attached| {
        let name = format!("detach {}", step.list.name);
        let is_own = |cached: Option<&CachedAttachment>| {
            Ok(cached.is_none_or(|cached| cached.netns == step.conf.netns))
        };
        timings.step(&name, || caller.del_if(&step.list, &step.conf, is_own))
    };
    let results = attached.iter().rev().map(one);
    results
        .filter_map(|result| Some(result.err()?.to_string()))
        .collect()
}

/// The error, and what could not be cleaned up beside it.
pub fn with_stuck(error: anyhow::Error, doing: &str, stuck: &[String]) -> anyhow::Error {
    match stuck.join("; ").as_str() {
        "" => error,
        stuck => anyhow!("{error:#}; {doing}: {stuck}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Wanted;

    fn list(name: &str, capabilities: &[&str]) -> NetworkList {
        let on: Map<String, Value> = capabilities
            .iter()
            .map(|name| ((*name).to_owned(), json!(true)))
            .collect();
        let plugins = json!([{"type": "one"}, {"type": "two", "capabilities": on}]);
        let json = json!({"cniVersion": "1.1.0", "name": name, "plugins": plugins});
        NetworkList::parse(json.to_string().as_bytes(), None).unwrap()
    }

    fn planned(lists: Vec<NetworkList>, pairs: &[(&str, &str)]) -> anyhow::Result<Vec<Step>> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let subject = Subject {
            id: "c1".parse().unwrap(),
            netns: "/n".into(),
            args: vec![("IgnoreUnknown".into(), "1".into())],
        };
        plan(lists, &Wanted::parse(&pairs.collect()).unwrap(), &subject)
    }

    fn args(step: &Step) -> String {
        let pairs = step
            .conf
            .args
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(";")
    }

    #[test]
    fn without_capabilities_addresses_are_arguments() {
        let wanted = "a:ip=10.0.0.5,mac=02:00:00:00:00:01,b";
        let steps = planned(vec![list("a", &[]), list("b", &[])], &[(NETWORKS, wanted)]).unwrap();
        assert_eq!(
            args(&steps[0]),
            "IgnoreUnknown=1;IP=10.0.0.5;MAC=02:00:00:00:00:01"
        );
        assert_eq!(args(&steps[1]), "IgnoreUnknown=1");
        assert!(steps[0].conf.capability_args.is_empty());
        assert_eq!(steps[1].conf.attachment.ifname.as_str(), "eth1");
    }

    #[test]
    fn capabilities_carry_what_they_are_for() {
        let wanted = [
            (
                NETWORKS,
                "a:ip=10.0.0.5,ip=fd00::5,mac=02:00:00:00:00:01,alias=www",
            ),
            (PORTS, "80:80"),
            ("org.davit.dns", "1.1.1.1"),
        ];
        let lists = vec![list("a", &["ips", "mac", "aliases", "dns", "portMappings"])];
        let steps = planned(lists, &wanted).unwrap();
        assert_eq!(args(&steps[0]), "IgnoreUnknown=1;IP=10.0.0.5");
        let expected = json!({"ips": ["10.0.0.5", "fd00::5"], "mac": "02:00:00:00:00:01",
            "aliases": ["www"],
            "dns": {"servers": ["1.1.1.1"], "searches": [], "options": []},
            "portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]});
        assert_eq!(Value::from(steps[0].conf.capability_args.clone()), expected);
    }

    #[test]
    fn what_no_plugin_can_do_is_refused() {
        let two = [(NETWORKS, "a:ip=10.0.0.5,ip=fd00::5")];
        let error = planned(vec![list("a", &[])], &two).unwrap_err().to_string();
        assert!(
            error.starts_with("annotation org.davit.networks: a: a second ip"),
            "{error}"
        );
        let ports = [(NETWORKS, "a"), (PORTS, "80:80")];
        let error = planned(vec![list("a", &["ips"])], &ports)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("annotation org.davit.ports: no network"),
            "{error}"
        );
    }

    #[test]
    fn a_family_that_the_network_lacks_is_told() {
        let with_ipam = |ipams: &[Value]| {
            let mut list = list("a", &["ips", "portMappings"]);
            for (plugin, ipam) in list.plugins.iter_mut().zip(ipams) {
                plugin.document.insert("ipam".into(), ipam.clone());
            }
            list
        };
        let publish = |ipams: &[Value], networks: &str, port: &str| {
            planned(
                vec![with_ipam(ipams)],
                &[(NETWORKS, networks), (PORTS, port)],
            )
            .map(drop)
        };
        let v4 = json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]});
        let error = publish(std::slice::from_ref(&v4), "a", "[fd00::1]:80:80").unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation org.davit.ports: fd00::1: network \"a\" gives its containers no IPv6 addresses"
        );
        publish(std::slice::from_ref(&v4), "a", "192.0.2.1:80:80").unwrap();
        publish(
            std::slice::from_ref(&v4),
            "a:ip=10.1.0.9,ip=fd05::9",
            "[fd00::1]:80:80",
        )
        .unwrap();
        // Who gives addresses from elsewhere may give any.
        let dhcp = json!({"type": "dhcp"});
        publish(&[v4, dhcp], "a", "[fd00::1]:80:80").unwrap();
    }

    #[test]
    fn only_one_network_publishes() {
        let lists = vec![
            list("a", &[]),
            list("b", &["portMappings"]),
            list("c", &["portMappings"]),
        ];
        let steps = planned(lists, &[(NETWORKS, "a,b,c"), (PORTS, "80:80")]).unwrap();
        let publish: Vec<_> = steps
            .iter()
            .map(|step| step.conf.capability_args.len())
            .collect();
        assert_eq!(publish, [0, 1, 0]);
    }
}
