//! CNI `bandwidth`: limits how fast a container sends and receives.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<bandwidth::Bandwidth>()
}
