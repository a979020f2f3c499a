//! CNI `macvlan`: gives a container its own Ethernet address on a link of the host.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<macvlan::Macvlan>()
}
