//! What a reply may cost us in memory (catalogue N2): whatever a site says, and however it says it, one session keeps 64 KiB
//! for it at most.

use mail::Instant;
use smtp::client::{Action, ClientConfig, ClientTls, Session};
use testkit::held::{self, Counting};

const MAX: usize = 64 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that a session held beyond what it began with, while it read `reply` in pieces of this size.
fn most(reply: &[u8], piece: usize) -> usize {
    let mut session = Session::new(ClientConfig::new("out.example", ClientTls::Never), Instant::ZERO);
    session.handle_bytes(b"220 mx\r\n", Instant::ZERO);
    while let Some(Action::Send(_)) = session.poll_action() {}
    held::most(|| {
        for octets in reply.chunks(piece) {
            session.handle_bytes(octets, Instant::ZERO);
            // What it has to say is taken, as the shell does.
            while session.poll_action().is_some() {}
        }
    })
}

#[test]
fn no_reply_costs_more_than_64_kib() {
    let replies: [(&str, Vec<u8>); 8] = [
        ("a line of 1 MB", [b"250 ", &vec![b'x'; 1 << 20][..]].concat()),
        ("a line of 1 MB without end, in eight bits", vec![0xff; 1 << 20]),
        ("lines without end", b"250-more\r\n".repeat(100_000)),
        ("empty lines without end", b"250-\r\n".repeat(100_000)),
        ("the longest lines", [b"250-", &vec![b'x'; 4_090][..], b"\r\n"].concat().repeat(250)),
        ("the longest lines in eight bits", [b"250-", &vec![0xff; 4_090][..], b"\r\n"].concat().repeat(250)),
        ("control characters", [b"250-", &b"\x1bx\xff".repeat(900)[..], b"\r\n"].concat().repeat(250)),
        ("a hundred lines that are allowed", {
            let line = [b"250-", &b"\x1b\xff".repeat(60)[..], b"\r\n"].concat();
            [line.repeat(99), b"250 end\r\n".to_vec()].concat()
        }),
    ];
    for (what, reply) in &replies {
        for piece in [1, 7, 1_000, 4_096] {
            let most = most(reply, piece);
            assert!(most <= MAX, "{what}, {piece} at a time: {most} octets");
            if piece == 4_096 {
                println!("{what}: {most} octets at most");
            }
        }
    }
}
