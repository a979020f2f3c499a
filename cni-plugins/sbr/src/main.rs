//! CNI `sbr`: routes a container's packets by their source address.
fn main() -> std::process::ExitCode {
    cni_plugin::plugin_main::<sbr::Sbr>()
}
