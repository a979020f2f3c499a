//! Lets the linker put side by side what usual starts execute (decision 0065).

fn main() {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../hot-text/davit-cni-plugins.ld"
    );
    println!("cargo::rerun-if-changed={script}");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // What is built for tests has other functions, and is linked more often.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{script}");
    }
}
