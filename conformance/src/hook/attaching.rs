//! What plugins are asked at createRuntime and postStop, and what is left when something fails.

use serde_json::json;
use testbed::Outcome;

use super::stand::Stand;
use crate::case::Case;
use crate::recorder::Plugin;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, lacking, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Hook,
        OH01,
        the_namespace_is_that_of_the_state_s_process,
        "nerdctl oci-hook: the namespace is /proc/<pid>/ns/net, or nerdctl/network-namespace"
    ),
    row!(
        Hook,
        OH02,
        post_stop_needs_no_process,
        "runtime-spec hooks: poststop is called after the container is deleted; SPEC section 2: DEL \
         without CNI_NETNS cleans up as much as possible"
    ),
    row!(
        Hook,
        OH03,
        a_second_post_stop_is_a_success,
        "SPEC section 4: plugins should complete a DEL without error if something is missing"
    ),
    row!(
        Hook,
        OH04,
        a_failed_create_is_undone_and_named,
        "nerdctl oci-hook: a failure inside createRuntime removes what was attached"
    ),
    row!(
        Hook,
        OH05,
        what_a_crash_left_is_removed_before_the_next_create,
        "nerdctl oci-hook: a pre-emptive removal, because a restart may skip postStop"
    ),
    row!(
        Hook,
        OH04,
        a_create_that_fails_after_the_plugins_is_undone,
        "nerdctl oci-hook: a failure inside createRuntime removes what was attached"
    ),
    row!(
        Hook,
        OH05,
        a_living_container_of_the_same_id_is_left_alone,
        "davit: what is removed beforehand, or by a postStop that is late, is of a dead container"
    ),
    row!(
        Hook,
        OH07,
        hooks_of_several_containers_run_in_parallel,
        "SPEC section 3: operations on different containers may run in parallel"
    ),
    row!(
        Hook,
        OH08,
        a_port_that_the_host_listens_at_is_told_at_create,
        "nerdctl oci-hook: published ports are tried before the container is attached"
    ),
    row!(
        Hook,
        OH09,
        a_killed_create_is_cleaned_up_by_post_stop,
        "davit: state is written before it is needed, in one step"
    ),
    row!(
        Hook,
        OH10,
        dual_stack_ports_reach_del_as_they_were_at_add,
        "libcni: DEL has the capability arguments of the ADD, so that rules of both families go"
    ),
    row!(
        Hook,
        OH11,
        unknown_events_and_bad_states_are_refused,
        "nerdctl oci-hook: unexpected event, and required annotations"
    ),
    row!(
        Hook,
        OH12,
        containers_and_interfaces_have_the_usual_names,
        "nerdctl oci-hook: the ID is <namespace>-<id>, interfaces are eth0, eth1, ... (go-cni)"
    ),
    row!(
        Hook,
        OH12,
        special_networks_are_left_alone_and_stand_alone,
        "nerdctl oci-hook: none, host, container:ID and ns:PATH are skipped; mixing is an error"
    ),
    row!(
        Hook,
        OH12,
        addresses_and_ports_reach_the_plugins,
        "nerdctl oci-hook: CNI_ARGS IP and MAC, capabilities ips and portMappings"
    ),
    row!(
        Hook,
        OH12,
        the_pid_file_is_written,
        "nerdctl oci-hook: nerdctl/pid-file has the container's pid"
    ),
];

const BOTH_WAYS: [&str; 4] = ["ADD one", "ADD two", "DEL two", "DEL one"];

fn the_namespace_is_that_of_the_state_s_process(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    stand.create(&container)?.succeeds()?;
    let added = stand.recorder.last("ADD", "one")?;
    let own = format!("/proc/{}/ns/net", container.pid);
    ensure_eq!(added.env("CNI_NETNS"), own, "namespace");
    let path = case.host.netns("box")?;
    let named = stand
        .container("c8")?
        .with("network-namespace", &json!(path));
    stand.create(&named)?.succeeds()?;
    let added = stand.recorder.last("ADD", "one")?;
    ensure_eq!(added.env("CNI_NETNS"), path, "namespace by annotation");
    Ok(())
}

fn post_stop_needs_no_process(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    stand.create(&container)?.succeeds()?;
    stand.end(&container)?;
    stand.stop(&container)?.succeeds()?;
    let deleted = stand.recorder.last("DEL", "one")?;
    ensure_eq!(deleted.env("CNI_NETNS"), "", "namespace of DEL");
    stand.was_asked(&BOTH_WAYS)?;
    ensure_eq!(stand.cached()?, "", "attachments in the cache");
    Ok(())
}

fn a_second_post_stop_is_a_success(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    stand.create(&container)?.succeeds()?;
    stand.end(&container)?;
    for _ in 0..3 {
        stand.stop(&container)?.succeeds()?;
    }
    let asked = stand.recorder.asked()?;
    ensure!(
        asked.starts_with(&BOTH_WAYS.map(String::from)),
        "calls {asked:?}"
    );
    Ok(())
}

fn a_failed_create_is_undone_and_named(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let broken = Plugin::named("broken").failing("ADD", 50, "no room");
    stand.recorder.install(&broken)?;
    stand.network("late", json!([{"type": "one"}, {"type": "broken"}]))?;
    let container = stand
        .container("c7")?
        .with("networks", &json!("[\"net\",\"late\"]"));
    let refused = stand.create(&container)?.refuses()?;
    for part in ["late", "broken", "no room"] {
        refused.clone().says(&[part])?;
    }
    ensure_eq!(stand.cached()?, "", "attachments in the cache");
    stand.was_asked(&[
        "ADD one",
        "ADD two",
        "ADD one",
        "ADD broken",
        "DEL broken",
        "DEL one",
        "DEL two",
        "DEL one",
    ])?;
    stand.end(&container)?;
    stand.stop(&container)?.succeeds()?;
    Ok(())
}

fn what_a_crash_left_is_removed_before_the_next_create(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let first = stand.container("c7")?;
    stand.create(&first)?.succeeds()?;
    stand.end(&first)?;
    let second = stand.container("c7")?;
    stand.create(&second)?.succeeds()?;
    stand.was_asked(&[&BOTH_WAYS[..], &BOTH_WAYS[..2]].concat())
}

fn a_create_that_fails_after_the_plugins_is_undone(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    // A directory in the place of the hosts file can be neither read nor written.
    let names = stand.store().join("etchosts/default/c7");
    std::fs::create_dir_all(names.join("hosts"))?;
    stand.create(&container)?.refuses()?;
    stand.was_asked(&BOTH_WAYS)?;
    ensure_eq!(stand.cached()?, "", "attachments in the cache");
    let is_known = names.join("meta.json").try_exists()?;
    ensure!(!is_known, "its neighbours still know the container");
    Ok(())
}

fn a_living_container_of_the_same_id_is_left_alone(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let living = stand.container("c7")?;
    stand.create(&living)?.succeeds()?;
    stand.was_asked(&BOTH_WAYS[..2])?;
    let cached = stand.cached()?;
    stand.create(&stand.container("c7")?)?.refuses()?;
    // The runtime that was refused gives up.
    stand.stop(&living)?.succeeds()?;
    stand.was_asked(&[])?;
    ensure_eq!(stand.cached()?, cached, "attachments in the cache");
    Ok(())
}

fn hooks_of_several_containers_run_in_parallel(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    // Each waits until all of them are there: hooks in a row would never get that far.
    let meet = case.path("meet");
    std::fs::create_dir(&meet)?;
    let wait = format!(
        "if [ $verb = ADD ]; then : >{meet}/$CNI_CONTAINERID; n=0
         while [ $(ls {meet} | wc -l) -lt 4 ]; do n=$((n + 1)); [ $n -lt 150 ] || exit 1; sleep 0.1; done
         fi"
    );
    stand.recorder.install(&Plugin::named("two").first(&wait))?;
    let containers = (1..5).map(|number| stand.container(&format!("c{number}")));
    let containers = containers.collect::<Verdict<Vec<_>>>()?;
    let calls = containers.iter().map(|each| {
        let state = each.state("creating", each.pid);
        stand.call("createRuntime", &state)
    });
    let calls = calls.collect::<Verdict<Vec<_>>>()?;
    let outcomes: Vec<testbed::Result<Outcome>> = std::thread::scope(|scope| {
        let started: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(|| call.run()))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended
            .map(|joined| joined.expect("run does not panic"))
            .collect()
    });
    for outcome in outcomes {
        outcome?.succeeds()?;
    }
    let met = std::fs::read_dir(&meet)?.count();
    ensure_eq!(met, 4, "containers that were attached");
    Ok(())
}

fn a_port_that_the_host_listens_at_is_told_at_create(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let publishes =
        json!([{"type": "one"}, {"type": "two", "capabilities": {"portMappings": true}}]);
    stand.network("net", publishes)?;
    case.sh("command -v busybox >/dev/null")
        .map_err(|_| lacking("the program busybox"))?;
    case.sh("busybox nc -l -p 8080 >/dev/null 2>&1 </dev/null & \
             until grep -q ':1F90 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done")?;
    let ports = |port: u16| {
        json!(json!([{"HostPort": port, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "0.0.0.0"}]).to_string())
    };
    let taken = stand.container("c7")?.with("ports", &ports(8080));
    let refused = stand.create(&taken)?.refuses()?;
    refused.clone().says(&["8080"])?;
    refused.says(&["tcp"])?;
    stand.was_asked(&[])?;
    // Nothing stays bound: what was tried can be tried again.
    for id in ["c8", "c9"] {
        let free = stand.container(id)?.with("ports", &ports(8081));
        stand.create(&free)?.succeeds()?;
        stand.end(&free)?;
        stand.stop(&free)?.succeeds()?;
    }
    let bound = case.sh("grep -c ':1F91 ' /proc/net/tcp || :")?;
    ensure_eq!(bound.trim(), "0", "sockets at the port that was tried");
    Ok(())
}

fn a_killed_create_is_cleaned_up_by_post_stop(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    // The plugin kills who called it, in the middle of the first ADD.
    let killing = Plugin::named("two").first("[ $verb = ADD ] && kill -9 $PPID");
    stand.recorder.install(&killing)?;
    let container = stand.container("c7")?;
    let killed = stand.create(&container)?;
    ensure!(
        !killed.success(),
        "the hook was killed and answered\n{killed}"
    );
    stand.recorder.install(&Plugin::named("two"))?;
    stand.recorder.forget()?;
    stand.end(&container)?;
    stand.stop(&container)?.succeeds()?;
    stand.was_asked(&["DEL two", "DEL one"])?;
    ensure_eq!(stand.cached()?, "", "attachments in the cache");
    stand.create(&stand.container("c7")?)?.succeeds()?;
    Ok(())
}

fn dual_stack_ports_reach_del_as_they_were_at_add(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let publishes =
        json!([{"type": "one"}, {"type": "two", "capabilities": {"portMappings": true}}]);
    stand.network("net", publishes)?;
    let container = stand.container("c7")?;
    let ports = json!({"portMappings": [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "::"},
    ]});
    let config = stand
        .store()
        .join("containers/default/c7/network-config.json");
    std::fs::write(&config, ports.to_string())?;
    stand.create(&container)?.succeeds()?;
    let added = stand.recorder.last("ADD", "two")?.request()?;
    let mappings = &added["runtimeConfig"]["portMappings"];
    ensure_eq!(
        mappings.as_array().map_or(0, Vec::len),
        2,
        "mappings of ADD"
    );
    // As nerdctl does, the file goes with the container.
    std::fs::remove_file(config)?;
    stand.end(&container)?;
    stand.stop(&container)?.succeeds()?;
    let deleted = stand.recorder.last("DEL", "two")?.request()?;
    ensure_eq!(
        &deleted["runtimeConfig"]["portMappings"],
        mappings,
        "mappings of DEL"
    );
    Ok(())
}

fn unknown_events_and_bad_states_are_refused(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    let good = container.state("creating", container.pid);
    let refused = |event: &str, state: &str| -> Verdict {
        let outcome = case.call(&stand.call(event, state)?)?.refuses()?;
        let complaint = outcome.complaint();
        ensure!(
            !complaint.trim().is_empty(),
            "{event} was refused without a word"
        );
        stand.was_asked(&[])
    };
    refused("startContainer", &good)?;
    for state in ["", "{", "[]", r#"{"id":"../x"}"#, r#"{"id":"c7"}"#] {
        refused("createRuntime", state)?;
    }
    for key in ["namespace", "networks", "state-dir", "extraHosts"] {
        let mut without = container.clone();
        if let Some(annotations) = without.annotations.as_object_mut() {
            annotations.remove(&format!("nerdctl/{key}"));
        }
        refused("createRuntime", &without.state("creating", without.pid))?;
    }
    // No process, and no namespace by annotation.
    refused("createRuntime", &container.state("creating", 0))?;
    stand.create(&container)?.succeeds()?;
    Ok(())
}

fn containers_and_interfaces_have_the_usual_names(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    stand.network("more", json!([{"type": "two"}]))?;
    let container = stand
        .container("c7")?
        .with("networks", &json!("[\"net\",\"more\"]"));
    stand.create(&container)?.succeeds()?;
    let calls = stand.recorder.calls()?;
    let names: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {}", call.env("CNI_CONTAINERID"), call.env("CNI_IFNAME")))
        .collect();
    let wanted = ["default-c7 eth0", "default-c7 eth0", "default-c7 eth1"];
    ensure_eq!(names, wanted, "containers and interfaces");
    let args = calls.first().map_or("", |call| call.env("CNI_ARGS"));
    for part in ["IgnoreUnknown=1", "NERDCTL_CNI_DHCP_HOSTNAME=c7"] {
        ensure!(
            args.split(';').any(|arg| arg == part),
            "{part} is not in {args:?}"
        );
    }
    Ok(())
}

fn special_networks_are_left_alone_and_stand_alone(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    for name in ["none", "host", "container:c1", "ns:/run/netns/x"] {
        let alone = json!(json!([name]).to_string());
        let container = stand.container("c7")?.with("networks", &alone);
        stand.create(&container)?.succeeds()?;
        let mixed = json!(json!(["net", name]).to_string());
        stand
            .create(&container.with("networks", &mixed))?
            .refuses()?;
        stand.was_asked(&[])?;
    }
    Ok(())
}

fn addresses_and_ports_reach_the_plugins(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let able = json!({"ips": true, "portMappings": true});
    stand.network("net", json!([{"type": "one", "capabilities": able}]))?;
    let port =
        json!([{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "127.0.0.1"}]);
    let container = stand.container("c7")?;
    let container = container
        .with("ip", &json!("10.4.0.9"))
        .with("ip6", &json!("fd00::9"))
        .with("mac-address", &json!("02:00:00:00:00:09"))
        .with("ports", &json!(port.to_string()));
    stand.create(&container)?.succeeds()?;
    let added = stand.recorder.last("ADD", "one")?;
    for part in ["IP=10.4.0.9", "MAC=02:00:00:00:00:09"] {
        let args = added.env("CNI_ARGS");
        ensure!(
            args.split(';').any(|arg| arg == part),
            "{part} is not in {args:?}"
        );
    }
    let given = &added.request()?["runtimeConfig"];
    let ips = given["ips"].to_string();
    ensure!(ips.contains("fd00::9"), "capability ips is {ips}");
    let mapping = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}
    ]);
    ensure_eq!(&given["portMappings"], &mapping, "mappings");
    Ok(())
}

fn the_pid_file_is_written(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let file = case.path("pid");
    let container = stand.container("c7")?.with("pid-file", &json!(file));
    stand.create(&container)?.succeeds()?;
    let written = case.read("pid")?;
    ensure_eq!(written.trim(), container.pid.to_string(), "pid-file");
    Ok(())
}
