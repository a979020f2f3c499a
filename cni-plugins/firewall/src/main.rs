//! CNI `firewall`: lets a container's traffic pass the host's packet filter, or not.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<firewall_plugin::Firewall>()
}
