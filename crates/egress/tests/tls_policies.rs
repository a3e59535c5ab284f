//! N12: certificates that are wrong in one way each, and sites that take TLS away, under each policy there is:
//! opportunistic (any certificate is better than none) and required (a good one or no mail).
//!
//! MTA-STS and DANE are not there yet, so there is no policy that a domain could publish. That replies injected before the
//! handshake are not believed is held by `crates/smtp/tests/attack/injection.rs`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod house;

use house::site::{Say, Site, address, certificate, certificate_until, free_port, good_at, scripted, usual};
use house::{House, Told};
use mail::Verdict;
use smtp::server::TlsMode;
use spool::Settlement;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Name,
    Expired,
    SelfSigned,
}

async fn site(wrong: Wrong, last: u8, port: u16) -> (Site, String) {
    let (acceptor, pem) = match wrong {
        Wrong::Nothing | Wrong::SelfSigned => certificate("mx.dest.example"),
        Wrong::Name => certificate("mx.other.example"),
        Wrong::Expired => certificate_until("mx.dest.example", 2020),
    };
    // The self-signed one is no root here; the others would be good but for what is wrong with them.
    let root = if wrong == Wrong::SelfSigned { certificate("mx.dest.example").1 } else { pem };
    (good_at(address(last), port, TlsMode::Offered, acceptor).await, root)
}

#[tokio::test]
async fn a_certificate_that_is_wrong_in_any_way_gets_mail_only_where_any_is_good_enough() {
    for (last, wrong) in
        [(81, Wrong::Nothing), (82, Wrong::Name), (83, Wrong::Expired), (84, Wrong::SelfSigned)]
    {
        let (port, _keep) = free_port().await;
        let (site, root) = site(wrong, last, port).await;
        let mut house = House::trusting(port, &root).await;
        house.route("dest.example", 10, "mx.dest.example", site.address);
        house.send_with(&["a@dest.example"], |accepted| accepted.require_tls = true).await;
        if wrong == Wrong::Nothing {
            assert_eq!(house.settled().await.settlement, Settlement::Delivered);
        } else {
            let attempted = house.attempted().await;
            assert_eq!(attempted.outcome.class.as_str(), "tls.failed", "{wrong:?}");
            assert!(site.arrivals().is_empty(), "{wrong:?}: mail to a site that may be another one");
        }
        house.send(&["a@dest.example"]).await;
        assert_eq!(house.settled().await.settlement, Settlement::Delivered, "{wrong:?}");
        assert!(site.arrivals().iter().all(|arrival| arrival.encrypted), "{wrong:?}: mail in clear");
        house.stop().await;
    }
}

/// STARTTLS is not offered, is refused, or is answered with something else: what demands TLS is never said in clear.
#[tokio::test]
async fn a_site_that_takes_tls_away_gets_nothing_that_demands_it() {
    fn without(_: u32, line: &str) -> Say {
        match line {
            "STARTTLS" => Say::Line("502 5.5.1 not here"),
            _ if line.starts_with("EHLO") => Say::Line("250-mx.dest.example\r\n250 8BITMIME"),
            _ => usual(line),
        }
    }
    fn refused(_: u32, line: &str) -> Say {
        match line {
            "STARTTLS" => Say::Line("454 4.7.0 no TLS today"),
            _ if line.starts_with("EHLO") => {
                Say::Line("250-mx.dest.example\r\n250-STARTTLS\r\n250 REQUIRETLS")
            }
            _ => usual(line),
        }
    }
    fn injected(_: u32, line: &str) -> Say {
        match line {
            // As if the handshake were over: an answer to EHLO that nobody asked for, in the same segment.
            "STARTTLS" => Say::Last("220 go on\r\n250-mx.dest.example\r\n250 REQUIRETLS"),
            _ if line.starts_with("EHLO") => Say::Line("250-mx.dest.example\r\n250 STARTTLS"),
            _ => usual(line),
        }
    }
    for (last, script) in [(85, without as fn(u32, &str) -> Say), (86, refused), (87, injected)] {
        let (port, _keep) = free_port().await;
        let site = scripted(last, port, script).await;
        let mut house = House::trusting(port, "").await;
        house.route("dest.example", 10, "mx.dest.example", site.address);
        house.send_with(&["a@dest.example"], |accepted| accepted.require_tls = true).await;
        // It may be deferred, or fail for good where the extension is not there at all; it never arrives.
        let outcome = match house.told().await {
            Told::Attempted(attempted) => attempted.outcome,
            Told::Settled(settled) => settled.outcome.unwrap(),
        };
        println!("N12 site {last}: {} at {}", outcome.class.as_str(), outcome.stage);
        assert_ne!(outcome.verdict, Verdict::Delivered, "{last}");
        assert_eq!(site.final_dots(), 0, "{last}: mail in clear that must not be");
        house.stop().await;
    }
}
