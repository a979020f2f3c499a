//! CNI `tuning`: sets sysctls and attributes of a container's interface.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<tuning::Tuning>()
}
