//! Conversations with a server that lives in the test.

use super::*;

const DUID: [u8; 6] = [0, 4, 1, 2, 3, 4];
const SERVER: [u8; 4] = [0, 3, 0, 1];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

fn at(seconds: u64) -> Moment {
    Duration::from_secs(1_000_000 + seconds)
}

fn chance() -> impl FnMut() -> u32 {
    let mut last = 41;
    move || {
        last += 1;
        last
    }
}

fn client() -> Client {
    let patience = Patience {
        answer: Duration::from_secs(10),
        longest_pause: Duration::from_secs(62),
    };
    Client::new(DUID.into(), patience)
}

/// Number of the kind, transaction and the rest of the one message among the steps.
fn sent(steps: &[Step]) -> (u8, u32, Vec<u8>) {
    let [Step::Send(Datagram { bytes, .. })] = steps else {
        panic!("{steps:?}")
    };
    let xid = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
    (bytes[0], xid, bytes[4..].to_vec())
}

fn reply(kind: Kind, xid: u32, valid: u32) -> Message {
    let mut reply = Message::new(kind, xid);
    reply.put(option::CLIENT_ID, DUID);
    reply.put(option::SERVER_ID, SERVER);
    let mut association = identity_association(IAID, Some(ADDRESS));
    let length = association.len();
    association[length - 4..].copy_from_slice(&valid.to_be_bytes());
    reply.put(option::IA_NA, association);
    reply
}

fn give(client: &mut Client, now: Moment, message: &Message) -> Vec<Step> {
    let bytes = message.encode();
    let arrival = Arrival {
        bytes: &bytes,
        mac: [0; 6],
        has_checksum: true,
    };
    client.receive(now, arrival, &mut chance())
}

fn bound() -> Client {
    let mut client = client();
    client.discover(at(0), &mut chance());
    let (kind, xid, _) = sent(&client.advance(at(0), &mut chance()));
    assert_eq!(kind, Kind::Solicit as u8);
    let steps = give(&mut client, at(0), &reply(Kind::Advertise, xid, 800));
    let (kind, xid, rest) = sent(&steps);
    assert_eq!(kind, Kind::Request as u8);
    let holds = |part: &[u8]| rest.windows(part.len()).any(|window| window == part);
    assert!(holds(&DUID) && holds(&SERVER) && holds(&ADDRESS.octets()));
    let steps = give(&mut client, at(0), &reply(Kind::Reply, xid, 800));
    assert_eq!(steps, [Step::Leased]);
    client
}

#[test]
fn a_lease_is_found_asked_for_and_had() {
    let client = bound();
    let lease = client.lease().unwrap();
    assert_eq!(lease.address.to_string(), "fd00::9/128");
    assert_eq!(lease.server.id, SERVER);
    assert_eq!(client.deadline(), Some(at(400)));
    assert!(!client.needs_socket());
}

#[test]
fn what_is_not_for_this_client_is_not_taken() {
    let mut client = client();
    client.discover(at(0), &mut chance());
    let (_, xid, _) = sent(&client.advance(at(0), &mut chance()));
    let mut without_server = reply(Kind::Advertise, xid, 800);
    without_server
        .options
        .retain(|(code, _)| *code != option::SERVER_ID);
    let mut for_another = reply(Kind::Advertise, xid, 800);
    for_another.options[0].1[5] ^= 1;
    for message in [
        reply(Kind::Advertise, xid + 1, 800),
        reply(Kind::Reply, xid, 800),
        reply(Kind::Advertise, xid, 0),
        without_server,
        for_another,
    ] {
        assert_eq!(give(&mut client, at(0), &message), [], "{message:?}");
    }
}

#[test]
fn the_lender_is_asked_at_t1_and_everybody_at_t2() {
    let mut client = bound();
    let (kind, _, rest) = sent(&client.advance(at(400), &mut chance()));
    assert_eq!(kind, Kind::Renew as u8);
    assert!(rest.windows(4).any(|window| window == SERVER));
    let (kind, xid, rest) = sent(&client.advance(at(700), &mut chance()));
    assert_eq!(kind, Kind::Rebind as u8);
    assert!(!rest.windows(4).any(|window| window == SERVER));
    let steps = give(&mut client, at(701), &reply(Kind::Reply, xid, 800));
    assert_eq!(steps, [Step::Leased]);
    assert_eq!(client.lease().unwrap().term.unwrap().expire, at(1500));
}

#[test]
fn a_lease_ends_by_time_and_by_a_server_that_takes_it_away() {
    let mut expired = bound();
    expired.advance(at(400), &mut chance());
    assert_eq!(
        expired.advance(at(800), &mut chance()),
        [Step::Lost(Loss::Expired)]
    );
    let mut refused = bound();
    let (_, xid, _) = sent(&refused.advance(at(400), &mut chance()));
    let steps = give(&mut refused, at(400), &reply(Kind::Reply, xid, 0));
    assert_eq!(steps, [Step::Lost(Loss::Refused)]);
    assert!(refused.lease().is_none());
}

#[test]
fn solicitation_goes_on_with_growing_pauses() {
    let mut client = client();
    client.discover(at(0), &mut chance());
    let (mut now, mut pauses) = (at(0), Vec::new());
    for _ in 0..9 {
        sent(&client.advance(now, &mut chance()));
        let next = client.deadline().unwrap();
        pauses.push((next - now).as_secs_f64());
        now = next;
    }
    for (pause, expected) in pauses
        .iter()
        .zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 62.0, 62.0])
    {
        assert!((pause / expected - 1.0).abs() <= 0.1, "{pauses:?}");
    }
}

#[test]
fn a_release_names_the_address_and_the_lender() {
    let mut client = bound();
    let datagram = client.release(&mut chance()).unwrap();
    let (kind, _, rest) = sent(&[Step::Send(datagram)]);
    assert_eq!(kind, Kind::Release as u8);
    let holds = |part: &[u8]| rest.windows(part.len()).any(|window| window == part);
    assert!(holds(&ADDRESS.octets()) && holds(&SERVER) && holds(&DUID));
    assert!(client.release(&mut chance()).is_none());
}
