//! CNI `host-local`: hands out addresses from ranges kept on this host.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<host_local::HostLocal>()
}
