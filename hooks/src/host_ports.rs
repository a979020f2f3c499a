//! Whether ports of the host can be published: a program of the host that listens already would go
//! deaf behind a published port, without a word, and nobody would ever reach an address that the host
//! does not have.
//!
//! Each is bound and let go of at once; nobody can connect meanwhile, and nothing stays bound.
//! Ports that other containers publish have no socket; the plugin that publishes refuses those.

use anyhow::{Context, ensure};
use sys::socket::{self, PortUse, Transport};

use crate::ports::{Port, Protocol};

/// Refuses ports at which something of the host listens, and addresses that it does not have.
pub fn refuse(ports: &[Port]) -> anyhow::Result<()> {
    for port in ports {
        let (number, protocol) = (port.host_port, port.protocol.name());
        for address in port.host_addresses() {
            let found = socket::port_use(transport(port.protocol), (address, number).into());
            let found = found.with_context(|| format!("port {number}/{protocol} of the host"))?;
            // Of a host without IPv6 the unspecified address is one that nobody asked for.
            ensure!(
                found != PortUse::NoAddress || address.is_unspecified(),
                "port {number}/{protocol}: the host has no address {address} (ip addr shows those it has; \
                 the sysctl ip_nonlocal_bind admits one that comes later)"
            );
            ensure!(
                found != PortUse::Taken,
                "port {number}/{protocol} of the host is taken: a program of the host has it at \
                 {address} (ss -anp shows which)"
            );
        }
    }
    Ok(())
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn ports(text: &str) -> Vec<Port> {
        Port::parse_range(text).unwrap()
    }

    #[test]
    fn a_port_that_somebody_listens_at_is_taken_and_others_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for text in [format!("{port}:80"), format!("127.0.0.1:{port}:80")] {
            let error = refuse(&ports(&text)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("port {port}/tcp of the host is taken")),
                "{error}"
            );
        }
        refuse(&ports(&format!("127.0.0.2:{port}:80"))).unwrap();
        refuse(&ports(&format!("127.0.0.1:{port}:80/udp"))).unwrap();
        drop(listener);
        refuse(&ports(&format!("127.0.0.1:{port}:80"))).unwrap();
        refuse(&ports(&format!("127.0.0.1:{port}:80"))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let error = refuse(&ports(&format!("{port}:53/udp"))).unwrap_err();
        assert!(
            error.to_string().contains("/udp of the host is taken"),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_the_host_has_not_is_named() {
        let error = refuse(&ports("192.0.2.77:80:80")).unwrap_err().to_string();
        let part = "port 80/tcp: the host has no address 192.0.2.77 (ip addr";
        assert!(error.starts_with(part), "{error}");
    }
}
