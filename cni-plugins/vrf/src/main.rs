//! CNI `vrf`: puts a container's interface into a VRF.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<vrf::Vrf>()
}
