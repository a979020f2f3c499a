//! `davit-cni gc` reads what real runtimes write: davit, runc, crun.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::Dir;
use testbed::{Bundle, Cgroups, Config, Host, Rootfs, requires};

/// Attaches nothing and forgets nothing.
const PLUGIN: &str = "#!/bin/sh
cat > /dev/null
[ \"$CNI_COMMAND\" = ADD ] && echo '{\"cniVersion\": \"1.1.0\"}'
exit 0
";

fn davit() -> Option<PathBuf> {
    let davit = Path::new(env!("CARGO_BIN_EXE_davit-cni")).with_file_name("davit");
    if davit.try_exists().unwrap() {
        return Some(davit);
    }
    requires::skipped("davit is not built: cargo build -p runtime");
    None
}

/// The container lives, then its process is killed and something else holds its namespace.
fn check(name: &str, runtime: &Path) {
    if requires::root().is_none() {
        return;
    }
    let host = Host::start(Cgroups::WithoutUnified).unwrap();
    let base = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::prepare(base.path()).unwrap();
    let group = format!("/davit-roots-{}-{name}", std::process::id());
    let config = Config::new()
        .args(&["/bin/sleep", "600"])
        .set("/linux/cgroupsPath", group);
    let bundle = Bundle::create(base.path().join("bundle"), &rootfs, &config).unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = base.path().join(name);
        let dir = Dir::open_or_create(path.parent().unwrap(), 0o755).unwrap();
        dir.replace(path.file_name().unwrap(), text.as_bytes(), mode)
            .unwrap();
    };
    file("bin/p", PLUGIN, 0o755);
    let list = r#"{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"p"}]}"#;
    file("net.d/n.conflist", list, 0o644);
    let (base, bundle) = (base.path().display(), bundle.dir().display());
    let (runtime, tool) = (runtime.display(), env!("CARGO_BIN_EXE_davit-cni"));
    let script = format!(
        r#"
        export NETCONFPATH={base}/net.d CNI_PATH={base}/bin DAVIT_CNI_CACHE_DIR={base}/cache
        export DAVIT_CNI_STATE_DIR={base}/state
        {runtime} --root {base}/root run -d --bundle {bundle} web </dev/null >/dev/null 2>{base}/err \
            || {{ cat {base}/err; exit 1; }}
        sleep 600 </dev/null >/dev/null 2>&1 & holder=$!
        echo '{{"ociVersion":"1.2.0","id":"web","pid":'$holder',"bundle":"/b","status":"creating",
            "annotations":{{"org.davit.networks":"n"}}}}' | {tool} create-runtime || exit 1
        sleep 2.1
        {tool} gc --grace 0 --runtime-root {base}/root
        pid=$({runtime} --root {base}/root state web | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
        kill -9 $pid
        while [ -d /proc/$pid ]; do sleep 0.05; done
        {tool} gc --grace 0 --runtime-root {base}/root
        # crun kills everybody in the cgroup that it wrote down, which must not be everybody's.
        grep -q '"cgroup-path": "/"' {base}/root/web/status 2>/dev/null && exit 1
        {runtime} --root {base}/root delete --force web >/dev/null 2>&1
        kill $holder
        "#
    );
    let outcome = host
        .command(["/bin/sh", "-c", &script])
        .deadline(Duration::from_secs(60))
        .run()
        .unwrap();
    let text = outcome.text();
    for line in [
        "kept        eth0 of web on n: its process ",
        "freed       eth0 of web on n: its process ",
    ] {
        assert!(text.contains(line), "{name}: {line:?} in {outcome}");
    }
    drop(host);
}

#[test]
fn davit_s() {
    if let Some(davit) = davit() {
        check("davit", &davit);
    }
}

#[test]
fn runc_s() {
    if requires::program("runc").is_some() {
        check("runc", Path::new("runc"));
    }
}

#[test]
fn crun_s() {
    if requires::program("crun").is_some() {
        check("crun", Path::new("crun"));
    }
}
