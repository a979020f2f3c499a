//! Conversations with a server that lives in the test.

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn at(seconds: u64) -> Moment {
    Duration::from_secs(1_000_000 + seconds)
}

fn client(broadcast: bool) -> Client {
    let identity = Identity {
        mac: MAC,
        client_id: b"\0c1/net/eth0".to_vec(),
        provide: vec![(option::HOST_NAME, b"c1".to_vec())],
        request: vec![1, 3],
        broadcast,
    };
    let patience = Patience {
        answer: Duration::from_secs(10),
        longest_pause: Duration::from_secs(62),
    };
    Client::new(identity, patience)
}

fn chance() -> impl FnMut() -> u32 {
    let mut last = 41;
    move || {
        last += 1;
        last
    }
}

/// The one message among the steps, with where it goes.
fn sent(steps: &[Step]) -> (Message, Ipv4Addr, Ipv4Addr, [u8; 6]) {
    let [Step::Send(Datagram { bytes, mac })] = steps else {
        panic!("{steps:?}")
    };
    let address =
        |at: usize| Ipv4Addr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let message = Message::decode(&bytes[28..]).unwrap();
    (message, address(12), address(16), *mac)
}

fn reply(kind: Kind, to: &Message, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut reply = Message::new(kind, to.xid, to.chaddr);
    reply.is_reply = true;
    reply.yiaddr = ADDRESS;
    reply.options.set(option::SERVER_ID, SERVER.octets());
    reply.options.set(option::SUBNET_MASK, [255, 255, 255, 0]);
    reply.options.set(option::LEASE_TIME, 800_u32.to_be_bytes());
    for (code, value) in options {
        reply.options.set(*code, *value);
    }
    let mut packet = frame::wrap(SERVER, ADDRESS, &reply.encode());
    packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
    packet
}

fn give(client: &mut Client, now: Moment, packet: &[u8]) -> Vec<Step> {
    let arrival = Arrival {
        bytes: packet,
        mac: SERVER_MAC,
        has_checksum: true,
    };
    client.receive(now, arrival, &mut chance())
}

/// A client that got its lease at second 0.
fn bound() -> Client {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let (discover, ..) = sent(&client.advance(at(0), &mut chance()));
    let offer = reply(Kind::Offer, &discover, &[]);
    let (request, ..) = sent(&give(&mut client, at(0), &offer));
    let ack = reply(Kind::Ack, &request, &[]);
    assert_eq!(give(&mut client, at(0), &ack), [Step::Leased]);
    client
}

#[test]
fn a_lease_is_found_asked_for_and_had() {
    let mut client = client(true);
    client.discover(at(0), &mut chance());
    let (discover, from, to, mac) = sent(&client.advance(at(0), &mut chance()));
    assert_eq!(discover.kind(), Some(Kind::Discover));
    assert_eq!(
        (from, to, mac),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, BROADCAST)
    );
    assert!(discover.broadcast);
    assert_eq!(
        discover.options.get(option::CLIENT_ID),
        Some(&b"\0c1/net/eth0"[..])
    );
    assert_eq!(discover.options.get(option::HOST_NAME), Some(&b"c1"[..]));
    assert_eq!(
        discover.options.get(option::REQUEST_LIST),
        Some(&[1, 3][..])
    );
    let (request, ..) = sent(&give(
        &mut client,
        at(1),
        &reply(Kind::Offer, &discover, &[]),
    ));
    assert_eq!(
        request.options.address(option::REQUESTED_ADDRESS),
        Some(ADDRESS)
    );
    assert_eq!(request.options.address(option::SERVER_ID), Some(SERVER));
    assert!(request.ciaddr.is_unspecified() && request.xid == discover.xid);
    assert!(client.needs_socket() && client.lease().is_none());
    let steps = give(&mut client, at(2), &reply(Kind::Ack, &request, &[]));
    assert_eq!(steps, [Step::Leased]);
    let lease = client.lease().unwrap();
    assert_eq!(lease.address.to_string(), "10.0.0.9/24");
    // Counted from the request, not from its answer.
    assert_eq!(lease.term.unwrap().expire, at(801));
    assert!(!client.needs_socket());
    assert_eq!(client.deadline(), Some(at(401)));
}

#[test]
fn answers_to_others_and_nonsense_are_not_taken() {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let (discover, ..) = sent(&client.advance(at(0), &mut chance()));
    let other_xid = Message {
        xid: 1,
        ..discover.clone()
    };
    let other_mac = Message {
        chaddr: [9; 6],
        ..discover.clone()
    };
    for packet in [
        reply(Kind::Offer, &other_xid, &[]),
        reply(Kind::Offer, &other_mac, &[]),
        reply(Kind::Ack, &discover, &[]),
        reply(Kind::Nak, &discover, &[]),
        reply(Kind::Offer, &discover, &[(option::SERVER_ID, &[1])]),
        vec![0x45; 20],
    ] {
        assert_eq!(give(&mut client, at(0), &packet), []);
    }
    assert!(matches!(client.state, State::Selecting(_)));
}

#[test]
fn discovery_goes_on_with_growing_pauses_and_never_ends_by_itself() {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let mut pauses = Vec::new();
    let mut now = at(0);
    for _ in 0..12 {
        let (discover, ..) = sent(&client.advance(now, &mut chance()));
        assert_eq!(discover.kind(), Some(Kind::Discover));
        let next = client.deadline().unwrap();
        pauses.push((next - now).as_secs_f64().round() as u64);
        assert_eq!(
            client.advance(next - Duration::from_millis(1), &mut chance()),
            []
        );
        now = next;
    }
    for (pause, expected) in pauses.iter().zip([2, 2, 2, 2, 4, 8, 16, 32, 62, 62]) {
        assert!(pause.abs_diff(expected) <= 1, "{pauses:?}");
    }
}

#[test]
fn an_offer_that_is_not_acknowledged_is_dropped() {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let (discover, ..) = sent(&client.advance(at(0), &mut chance()));
    let offer = reply(Kind::Offer, &discover, &[]);
    give(&mut client, at(0), &offer);
    let (again, ..) = sent(&client.advance(at(4), &mut chance()));
    assert_eq!(again.kind(), Some(Kind::Request));
    let (anew, ..) = sent(&client.advance(at(10), &mut chance()));
    assert_eq!(anew.kind(), Some(Kind::Discover));
    assert_eq!(anew.secs, 0);
}

#[test]
fn a_refused_request_begins_anew_after_a_pause() {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let (discover, ..) = sent(&client.advance(at(0), &mut chance()));
    let (request, ..) = sent(&give(
        &mut client,
        at(0),
        &reply(Kind::Offer, &discover, &[]),
    ));
    assert_eq!(
        give(&mut client, at(0), &reply(Kind::Nak, &request, &[])),
        []
    );
    assert_eq!(client.advance(at(0), &mut chance()), []);
    let (anew, ..) = sent(&client.advance(at(4), &mut chance()));
    assert_eq!(anew.kind(), Some(Kind::Discover));
}

#[test]
fn an_acknowledgement_that_cannot_be_used_is_told() {
    let mut client = client(false);
    client.discover(at(0), &mut chance());
    let (discover, ..) = sent(&client.advance(at(0), &mut chance()));
    let (request, ..) = sent(&give(
        &mut client,
        at(0),
        &reply(Kind::Offer, &discover, &[]),
    ));
    let steps = give(
        &mut client,
        at(0),
        &reply(Kind::Ack, &request, &[(option::SUBNET_MASK, &[])]),
    );
    let text = "DHCP option Subnet Mask not found in DHCPACK";
    assert_eq!(steps, [Step::Useless(text.into())]);
}

#[test]
fn the_lender_is_asked_at_t1_and_everybody_at_t2() {
    let mut client = bound();
    assert_eq!(client.advance(at(399), &mut chance()), []);
    let (renewal, from, to, mac) = sent(&client.advance(at(400), &mut chance()));
    assert_eq!(
        (renewal.kind(), renewal.ciaddr),
        (Some(Kind::Request), ADDRESS)
    );
    assert_eq!((from, to, mac), (ADDRESS, SERVER, SERVER_MAC));
    assert_eq!(renewal.options.get(option::SERVER_ID), None);
    assert_eq!(renewal.options.get(option::REQUESTED_ADDRESS), None);
    assert!(client.lease().is_some(), "it may be used meanwhile");
    assert_eq!(
        client.deadline(),
        Some(at(550)),
        "half of what is left until T2"
    );
    let (_, _, to, mac) = sent(&client.advance(at(700), &mut chance()));
    assert_eq!((to, mac), (Ipv4Addr::BROADCAST, BROADCAST));
    let (request, ..) = sent(&client.advance(at(760), &mut chance()));
    let steps = give(&mut client, at(761), &reply(Kind::Ack, &request, &[]));
    assert_eq!(steps, [Step::Leased]);
    assert_eq!(client.lease().unwrap().term.unwrap().expire, at(1560));
}

#[test]
fn without_an_answer_the_lease_expires() {
    let mut client = bound();
    client.advance(at(400), &mut chance());
    client.advance(at(700), &mut chance());
    assert_eq!(
        client.advance(at(800), &mut chance()),
        [Step::Lost(Loss::Expired)]
    );
    assert!(client.lease().is_none() && client.deadline().is_none());
}

#[test]
fn a_refusal_ends_the_lease_at_once() {
    let mut client = bound();
    let (renewal, ..) = sent(&client.advance(at(400), &mut chance()));
    let steps = give(&mut client, at(401), &reply(Kind::Nak, &renewal, &[]));
    assert_eq!(steps, [Step::Lost(Loss::Refused)]);
    assert!(client.lease().is_none());
}

#[test]
fn a_lease_of_before_goes_on_where_it_was() {
    let lease = bound().lease().unwrap().clone();
    let mut client = client(false);
    client.resume(lease.clone());
    assert_eq!(client.deadline(), Some(at(400)));
    let (renewal, ..) = sent(&client.advance(at(650), &mut chance()));
    assert_eq!(renewal.ciaddr, ADDRESS);
    client.resume(lease);
    assert_eq!(
        client.advance(at(5000), &mut chance()),
        [Step::Lost(Loss::Expired)]
    );
}

#[test]
fn a_release_names_the_address_and_the_lender() {
    let mut client = bound();
    let datagram = client.release(&mut chance()).unwrap();
    let (release, from, to, mac) = sent(&[Step::Send(datagram)]);
    assert_eq!(
        (release.kind(), release.ciaddr),
        (Some(Kind::Release), ADDRESS)
    );
    assert_eq!((from, to, mac), (ADDRESS, SERVER, SERVER_MAC));
    assert_eq!(release.options.address(option::SERVER_ID), Some(SERVER));
    assert_eq!(
        release.options.get(option::CLIENT_ID),
        Some(&b"\0c1/net/eth0"[..])
    );
    assert_eq!(release.options.get(option::REQUEST_LIST), None);
    assert!(client.release(&mut chance()).is_none());
}
