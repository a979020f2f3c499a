//! CNI `portmap`: forwards ports of the host to a container.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<portmap::Portmap>()
}
