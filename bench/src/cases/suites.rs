//! Plugins beside plugins: chains, each alone, full pools, a hundred at once, whole containers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GAP, NETWORK_GAP};
use crate::alone::{Alone, make_devices};
use crate::hooks as hook;
use crate::measure::{Outcome, Plan, rounds};
use crate::plugins::{Chain, Crowd, Pool, REFERENCE, nothing};
use crate::series::Unit;
use crate::setting::{Setting, is_file};

/// The chain's series.
pub const CHAIN: [&str; 2] = [
    "bridge + host-local + portmap ADD",
    "bridge + host-local + portmap DEL",
];
/// Ours in that series.
pub const OURS: &str = "davit nftables";
/// The peer in that series.
pub const THEIRS: &str = "reference iptables";
/// Pools of different sizes.
pub const POOL: [&str; 2] = ["host-local ADD", "host-local DEL"];
/// Chains at once.
pub const CROWD: [&str; 2] = ["chain ADD, many at once", "chain DEL, many at once"];
/// Hooks at once.
pub const HOOK: [&str; 2] = [
    "hook: one container with a network, create-runtime",
    "hook: one container with a network, poststop",
];
/// In [`CROWD`]: ours.
pub const AT_ONCE: &str = "100 at once";
/// In [`CROWD`]: a chain that does nothing, and a hundred of them at once.
pub const NOTHING: [&str; 2] = ["nothing", "nothing, 100 at once"];
const RESERVED: [usize; 4] = [60_000, 10_000, 1_000, 0];
const MEMBERS: usize = 100;
/// The reference takes seconds for each of its large pools, a crowd as well.
const FEW_ROUNDS: usize = 10;
const HOOK_ROUNDS: usize = 5;

fn measured(
    titles: &[&str],
    subjects: Vec<crate::measure::Subject<'_>>,
    count: usize,
    gap: Duration,
) -> Result<Outcome, String> {
    let plan = Plan {
        titles,
        unit: Unit::Milliseconds,
        rounds: count,
        gap,
    };
    rounds(&plan, subjects)
}

fn own(setting: &Setting) -> PathBuf {
    setting.ours.join("cni")
}

fn has_plugins(path: &Path) -> bool {
    is_file(&path.join("bridge"))
}

/// ADD and DEL of the usual three, with both packet filters.
pub fn chain(setting: &Setting) -> Result<Outcome, String> {
    let (own, reference) = (own(setting), PathBuf::from(REFERENCE));
    let chains = [
        (OURS, &own, Some("nftables")),
        ("davit iptables", &own, Some("iptables")),
        (THEIRS, &reference, None),
    ];
    let chains: Vec<Chain> = chains
        .iter()
        .enumerate()
        .filter(|(_, (_, path, _))| has_plugins(path))
        .map(|(number, (name, path, backend))| {
            Chain::new(name, path, *backend, number, &setting.place)
        })
        .collect();
    let lives = chains.iter().map(Chain::lives).collect();
    measured(&CHAIN, lives, setting.rounds, NETWORK_GAP)
}

/// Each plugin without the others; what this kernel lacks is told as left out.
pub fn each(setting: &Setting) -> Result<Outcome, String> {
    make_devices()?;
    let own = own(setting);
    let mut all = Outcome::default();
    for one in Alone::all(&setting.place.join("alone")) {
        if !one.can_run() {
            all.left_out
                .push(format!("{}: not with this kernel", one.kind));
            continue;
        }
        let suites = [
            ("davit", own.as_path()),
            ("reference", Path::new(REFERENCE)),
        ];
        let subjects = suites
            .iter()
            .filter_map(|(suite, path)| one.subject(suite, path, &own));
        let titles = ["ADD", "DEL"].map(|verb| format!("{} alone, {verb}", one.kind));
        let titles = [titles[0].as_str(), titles[1].as_str()];
        all.join(measured(
            &titles,
            subjects.collect(),
            setting.rounds,
            NETWORK_GAP,
        )?);
    }
    Ok(all)
}

/// The name in [`POOL`].
pub fn pool_name(suite: &str, reserved: usize) -> String {
    format!("{suite}, {reserved} reserved")
}

/// host-local where so many addresses are taken.
pub fn pools(setting: &Setting) -> Result<Outcome, String> {
    let suites = [("davit", own(setting)), ("reference", REFERENCE.into())];
    let sizes = RESERVED.iter();
    let pools = sizes.flat_map(|size| suites.iter().map(move |suite| (*size, suite)));
    let pools = pools.filter(|(_, (_, path))| has_plugins(path));
    let pools = pools.map(|(size, (suite, path))| {
        Pool::new(&pool_name(suite, size), path, suite, size, &setting.place)
    });
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let lives = pools.iter().map(Pool::lives).collect();
    measured(&POOL, lives, setting.rounds_up_to(FEW_ROUNDS), GAP)
}

/// A hundred containers of ours at once beside a single one, beside what the processors allow, and
/// beside a hundred chains that do nothing.
pub fn crowd(setting: &Setting) -> Result<Outcome, String> {
    let own = own(setting);
    let chain = |number| Chain::new(OURS, &own, Some("nftables"), number, &setting.place);
    let crowd = Crowd::new(chain(8), MEMBERS)?;
    let single = chain(9);
    let nothing = nothing(setting)?;
    let nothing = |number| Chain::new(NOTHING[0], &nothing, None, number, &setting.place);
    let empty = Crowd::new(nothing(10), MEMBERS)?;
    let one_empty = nothing(11);
    let subjects = vec![
        crowd.all(AT_ONCE),
        single.lives(),
        single.floor(MEMBERS),
        empty.all(NOTHING[1]),
        one_empty.lives(),
    ];
    measured(
        &CROWD,
        subjects,
        setting.rounds_up_to(FEW_ROUNDS),
        NETWORK_GAP,
    )
}

/// The same for the hooks of whole containers: plugins, names, hosts files.
pub fn hooks(setting: &Setting) -> Result<Outcome, String> {
    let crowd = hook::Crowd::new(hook::Hook::new(&setting.ours, 0, &setting.place)?, MEMBERS);
    let single = hook::Single::new(hook::Hook::new(&setting.ours, 1, &setting.place)?);
    let subjects = vec![crowd.all(), single.lives(), single.floor(MEMBERS)];
    measured(
        &HOOK,
        subjects,
        setting.rounds_up_to(HOOK_ROUNDS),
        NETWORK_GAP,
    )
}
