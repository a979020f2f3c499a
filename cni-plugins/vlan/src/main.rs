//! CNI `vlan`: gives a container a VLAN of a link of the host.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<vlan::Vlan>()
}
