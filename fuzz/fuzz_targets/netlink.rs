//! What the kernel answers on a netlink socket, or who sends to its port in its place: links, addresses,
//! routes, rules of both kinds, qdiscs, flows and sockets.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| fuzz::bounded(|| check(datagram)));

fn check(datagram: &[u8]) {
    for body in netlink::understand(datagram) {
        firewall::understand(body);
        portmap::understand_socket(body);
        for (kind, value) in netlink::attribute::attributes(body) {
            assert!(netlink::attribute::find(body, kind).is_some());
            let _ = netlink::attribute::text(value);
        }
    }
    // The other source of sockets is a file of text.
    portmap::understand_socket(datagram);
}
