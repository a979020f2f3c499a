//! CNI `loopback`: brings a container's `lo` up.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<loopback::Loopback>()
}
