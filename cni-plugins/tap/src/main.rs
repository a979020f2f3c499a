//! CNI `tap`: makes a persistent tap device in the container.
fn main() -> std::process::ExitCode {
    match tap::asked_to_create() {
        Some(status) => status,
        None => cni_plugin::plugin_main::<tap::Tap>(),
    }
}
