//! CNI `tap`: makes a persistent tap device in the container.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<tap::Tap>()
}
