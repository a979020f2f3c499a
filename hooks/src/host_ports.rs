//! Whether ports of the host are free: a program of the host that listens already would go deaf
//! behind a published port, without a word.
//!
//! Each is bound and let go of at once; nobody can connect meanwhile, and nothing stays bound.
//! Ports that other containers publish have no socket; the plugin that publishes refuses those.

use anyhow::{Context, ensure};
use sys::socket::{self, Transport};

use crate::ports::{Port, Protocol};

/// Refuses ports at which something of the host listens.
pub fn refuse_taken(ports: &[Port]) -> anyhow::Result<()> {
    for port in ports {
        let (number, protocol) = (port.host_port, port.protocol.name());
        for address in port.host_addresses() {
            let taken = socket::is_taken(transport(port.protocol), (address, number).into());
            let taken = taken.with_context(|| format!("port {number}/{protocol} of the host"))?;
            ensure!(
                !taken,
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
            let error = refuse_taken(&ports(&text)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("port {port}/tcp of the host is taken")),
                "{error}"
            );
        }
        refuse_taken(&ports(&format!("127.0.0.2:{port}:80"))).unwrap();
        refuse_taken(&ports(&format!("127.0.0.1:{port}:80/udp"))).unwrap();
        drop(listener);
        refuse_taken(&ports(&format!("127.0.0.1:{port}:80"))).unwrap();
        refuse_taken(&ports(&format!("127.0.0.1:{port}:80"))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let error = refuse_taken(&ports(&format!("{port}:53/udp"))).unwrap_err();
        assert!(
            error.to_string().contains("/udp of the host is taken"),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_the_host_has_not_is_nobodys() {
        refuse_taken(&ports("192.0.2.77:80:80")).unwrap();
    }
}
