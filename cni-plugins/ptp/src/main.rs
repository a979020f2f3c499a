//! CNI `ptp`: connects a container to the host by a link of its own.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<ptp::Ptp>()
}
