//! The build script of the three binaries: lets the linker put side by side what usual starts execute
//! (decision 0065).

use std::path::Path;

fn main() -> Result<(), String> {
    let name = match env!("CARGO_PKG_NAME") {
        "runtime" => "davit",
        "hooks" => "davit-cni",
        package => package,
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = format!("hot-text/{name}.ld");
    let found = package
        .ancestors()
        .map(|above| above.join(&script))
        .find(|file| file.is_file());
    let script = found.ok_or_else(|| format!("no {script} above {}", package.display()))?;
    let script = script.display();
    println!("cargo::rerun-if-changed={script}");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // What is built for tests has other functions, and is linked more often.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{script}");
    }
    Ok(())
}
