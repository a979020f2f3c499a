//! CNI `static`: assigns the addresses that the configuration or the runtime names.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<static_ipam::Static>()
}
