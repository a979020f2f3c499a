//! CNI `dummy`: gives a container an interface that leads nowhere.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<dummy::Dummy>()
}
