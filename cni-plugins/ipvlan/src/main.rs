//! CNI `ipvlan`: gives a container addresses on a link of the host, with the host's Ethernet address.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<ipvlan::Ipvlan>()
}
