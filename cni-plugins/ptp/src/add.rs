//! ADD, as numbered steps.
//!
//! 1 refuse what can be refused without touching anything, 2 claim the interface name by making
//! the veth pair, 3 IPAM, 4 the container's end, 5 the host's end and forwarding, 6 masquerading,
//! 7 the result. From the claim on, an error makes `cni_plugin` run DEL.

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::masquerade::Masquerade;
use interface::host::{allow_ipv6, enable_forwarding, refuse_router_advertisements};
use interface::link::{interface, interface_inside};
use interface::pair::{self, Pair};
use interface::setup::{Detection, Setup};
use interface::{
    Assigned, Owner, Sandbox, in_firewall, ipam, master, on_host, owner, setup, vanished,
};
use netlink::address::Trait;
use netlink::link::Setting;
use netlink::{Link, Socket};
use sys::NetNs;

use crate::config::PtpConfig;
use crate::plan::Plan;

/// Index of the container's interface in the result: host's end, container's end.
const CONTAINER: usize = 1;

/// Attaches the container.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let config = PtpConfig::parse(&request.invocation)?;
    ipam::refuse_unusable(request)?;
    let mut sandbox = Sandbox::open(&request.netns)?;
    let mut host = master::host()?;
    let host_netns = NetNs::current().attempt(Code::PLUGIN, || "open own netns".into())?;
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let pair = Pair {
        owner: &owner,
        ifname: request.attachment.ifname.as_str(),
        host_netns: &host_netns,
        mac: None,
        mtu: config.mtu,
    };
    let name = pair.create(&mut sandbox)?;
    claim.made();
    let outside = own(&mut host, &name, &owner)?;
    let inside = sandbox.link(pair.ifname)?;
    let inside = inside.ok_or_else(|| vanished(format!("look up {:?}", pair.ifname)))?;
    let assigned = ipam::ask(request, CONTAINER)?.unwrap_or_default();
    let plan = Plan::new(assigned)?;
    configure_container(&mut sandbox, &inside, &plan)?;
    configure_host(&mut host, &outside, &plan, claim)?;
    if let Some(back_end) = config.masquerade {
        let masquerade = Masquerade {
            owner: &owner,
            addresses: &plan.assigned.addresses(),
        };
        in_firewall(masquerade.install(back_end), || {
            "install ipMasq rules".into()
        })?;
    }
    result(
        &mut host,
        &mut sandbox,
        [&outside, &inside],
        plan.assigned,
        &config,
    )
}

fn own(host: &mut Socket, name: &str, owner: &Owner) -> Result<Link, Error> {
    let link = pair::host_end(host, name)?;
    let alias = [Setting::Alias(owner.comment())];
    on_host(host.change_link(link.index, &alias), || {
        format!("set the alias of {name:?}")
    })?;
    Ok(link)
}

fn configure_container(sandbox: &mut Sandbox, link: &Link, plan: &Plan) -> Result<(), Error> {
    // Nobody is on this link but the host.
    let setup = Setup {
        detection: Detection::Off,
        announce: false,
    };
    let addresses = plan.assigned.addresses();
    setup.prepare(sandbox, link, &addresses)?;
    setup.add_addresses(sandbox, link, &addresses, &[Trait::WithoutRoute])?;
    setup.start(sandbox, link, &addresses)?;
    for route in plan.inner_routes(link.index) {
        on_host(sandbox.route.add_route(&route), || {
            format!("add routes over {:?} in {:?}", link.name, sandbox.path)
        })?;
    }
    setup::add_routes(sandbox, link, &plan.assigned)
}

fn configure_host(
    host: &mut Socket,
    link: &Link,
    plan: &Plan,
    claim: &mut Claim,
) -> Result<(), Error> {
    let what = || format!("configure the host's end {:?}", link.name);
    refuse_router_advertisements(&link.name)?;
    allow_ipv6(&link.name, &plan.gateways)?;
    // The gateway must answer at once, and nobody on this link can have its address.
    for gateway in &plan.gateways {
        on_host(
            host.add_address_with(link.index, *gateway, &[Trait::NotDetected]),
            what,
        )?;
    }
    on_host(host.change_link(link.index, &[Setting::Up]), what)?;
    for route in plan.outer_routes(link.index) {
        on_host(host.add_route(&route), what)?;
    }
    enable_forwarding(plan.assigned.families(), claim)
}

fn result(
    host: &mut Socket,
    sandbox: &mut Sandbox,
    [outside, inside]: [&Link; 2],
    assigned: Assigned,
    config: &PtpConfig,
) -> Result<cni::Result, Error> {
    let what = || "read back the host's end".to_owned();
    let outside = on_host(host.link_by_index(outside.index), what)?;
    let outside = outside.ok_or_else(|| vanished(what()))?;
    Ok(cni::Result {
        interfaces: vec![interface(outside), interface_inside(sandbox, inside.index)?],
        dns: assigned.dns_or(&config.dns),
        ips: assigned.ips,
        routes: assigned.routes,
    })
}
