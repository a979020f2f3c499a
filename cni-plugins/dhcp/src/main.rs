//! CNI `dhcp`: leases addresses from the DHCP server of a network, and keeps them.
fn main() -> std::process::ExitCode {
    dhcp::main()
}
