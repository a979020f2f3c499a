//! CNI `bridge`: connects a container to a Linux bridge on the host.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<bridge::Bridge>()
}
