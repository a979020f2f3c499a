//! CNI `host-device`: moves a device of the host into a container.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<host_device::HostDevice>()
}
