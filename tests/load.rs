//! Mixed load, written into a ledger: SMTP by DATA and BDAT, HTTP, 1 to 50 recipients, 1 KB to 1 MB.
//!
//! Sizes and numbers come from a seed. Every worker goes on until it is told to stop: when the house is away it tries
//! again, as a client would, but never offers the same message twice.

use crate::arrivals::{body_of, hash_of};
use crate::client::{Client, Door};
use crate::house::let_pass;
use crate::ledger::{Ledger, Told};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DOMAIN: &str = "plain.example";
/// Before the first recipient in the last line of every message.
pub const END: &str = "end of ";
/// Text to cut bodies from.
const STOCK_OCTETS: usize = 2 << 20;
/// Between two messages of a trickle.
const TRICKLE: Duration = Duration::from_millis(50);
/// A client whose connection failed waits this long.
const RETRY: Duration = Duration::from_millis(25);

/// How many clients of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Connections at the SMTP door.
    pub smtp: usize,
    /// Clients of the API.
    pub http: usize,
}

/// How large messages are, and for how many.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// 1 KB to 1 MB, 1 to 50 recipients.
    Mixed,
    /// 2 KB, one recipient.
    Small,
    /// 1 MB, one recipient.
    Large,
    /// 1 KB, fifty recipients.
    Wide,
    /// The same, at most twenty a second from each client: for faults that last.
    Trickle,
}

/// Clients that send until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// A stream of messages that nobody else has.
pub struct Press {
    name: String,
    sender: String,
    shape: Shape,
    stock: &'static [u8],
    state: u64,
    count: u64,
}

/// One message of its own kind, which can be known again.
#[derive(Debug, Clone)]
pub struct Message {
    /// In the order of the envelope.
    pub recipients: Vec<String>,
    /// With CRLF line ends.
    pub raw: Vec<u8>,
}

/// One after the other in this process, so that no two loads share a name.
static LOADS: AtomicU64 = AtomicU64::new(0);

impl Load {
    /// Begins at once; what is offered and answered goes into the ledger.
    pub fn start(door: &Door, ledger: &Arc<Ledger>, mix: Mix, shape: Shape) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let workers = (0..mix.smtp + mix.http).map(|number| {
            let press = Press::new(&format!("l{load}w{number}"), &door.sender, shape);
            let (door, ledger, stop) = (door.clone(), Arc::clone(ledger), Arc::clone(&stop));
            std::thread::spawn(move || match number < mix.smtp {
                true => speak_smtp(&door, press, &ledger, &stop),
                false => speak_http(&door, press, &ledger, &stop),
            })
        });
        Load { workers: workers.collect(), stop }
    }

    /// Nothing new is offered from here on.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Stops, and waits for the answers that are still due.
    pub fn finish(self) {
        self.stop();
        for worker in self.workers {
            worker.join().unwrap();
        }
    }
}

fn speak_smtp(door: &Door, mut press: Press, ledger: &Ledger, stop: &AtomicBool) {
    let mut session: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let began = watch();
        let mut client = match session.take().map_or_else(|| door.connect(), Ok) {
            Ok(client) => client,
            Err(error) => {
                let code = error.to_string().get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
                ledger.told(told(began, code, "connect"));
                let_pass(RETRY);
                continue;
            }
        };
        let message = press.next();
        let number = ledger.offer(message.recipients.clone(), hash_of(body_of(&message.raw)));
        let began = watch();
        let replied = match press.count % 3 {
            0 => client.submit_in_chunks(&door.sender, &message.recipients, &message.raw),
            _ => client.submit(&door.sender, &message.recipients, &message.raw),
        };
        let code = replied.as_ref().map_or(0, |reply| reply.code);
        if let Ok(reply) = &replied
            && let Some(message) = reply.message().filter(|_| reply.code == 250)
        {
            ledger.acknowledge(number, message);
        }
        ledger.told(told(began, code, "smtp"));
        press.rest();
        match code {
            250 => session = Some(client),
            _ => let_pass(RETRY),
        }
    }
}

fn speak_http(door: &Door, mut press: Press, ledger: &Ledger, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let message = press.next();
        let number = ledger.offer(message.recipients.clone(), hash_of(body_of(&message.raw)));
        let began = watch();
        let answer = door.post(&message.recipients, &message.raw);
        let mut told = told(began, answer.as_ref().map_or(0, |answer| answer.status), "http");
        if let Ok(answer) = &answer {
            told.retry_after = answer.retry_after.is_some();
            if let Some(message) = answer.message().filter(|_| answer.status == 202) {
                ledger.acknowledge(number, message);
            }
        }
        press.rest();
        if told.code != 202 {
            let_pass(RETRY);
        }
        ledger.told(told);
    }
}

#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
fn watch() -> Instant {
    Instant::now()
}

fn told(began: Instant, code: u16, door: &'static str) -> Told {
    let took_ms = began.elapsed().as_millis() as u64;
    Told { at_ms: crate::house::now_ms(), took_ms, code, retry_after: false, door }
}

impl Press {
    /// Messages of this name are different from those of every other.
    pub fn new(name: &str, sender: &str, shape: Shape) -> Press {
        let state = hash_of(name.as_bytes());
        Press { name: name.to_owned(), sender: sender.to_owned(), shape, stock: stock(), state, count: 0 }
    }

    fn rest(&self) {
        if let Shape::Trickle = self.shape {
            let_pass(TRICKLE);
        }
    }

    /// The next one; no two are alike.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> Message {
        let (octets, count) = match self.shape {
            Shape::Mixed => self.draw(),
            Shape::Small | Shape::Trickle => (2_048, 1),
            Shape::Large => (1 << 20, 1),
            Shape::Wide => (1_024, 50),
        };
        let id = format!("{}-{}", self.name, self.count);
        self.count += 1;
        let recipients: Vec<String> = (0..count).map(|n| format!("{id}-{n}@{DOMAIN}")).collect();
        let mut raw = format!(
            "From: {}\r\nTo: {}\r\nSubject: {id}\r\nMessage-ID: <{id}@client.example>\r\n\r\n{id}\r\n.\r\n",
            self.sender,
            recipients.join(",\r\n ")
        )
        .into_bytes();
        let from = (self.random() as usize % (self.stock.len() - octets)) / LINE * LINE;
        raw.extend_from_slice(&self.stock[from..from + octets / LINE * LINE]);
        // By which its last octets are known in a trace.
        raw.extend_from_slice(format!("{END}{}\r\n", recipients[0]).as_bytes());
        Message { recipients, raw }
    }

    /// Octets of the body and number of recipients: mostly small, sometimes not.
    fn draw(&mut self) -> (usize, usize) {
        let octets = match self.random() % 100 {
            0..80 => 1_024 + self.random() as usize % 7_168,
            80..95 => 8_192 + self.random() as usize % 24_576,
            95..99 => 65_536 + self.random() as usize % 65_536,
            _ => 262_144 + self.random() as usize % 786_432,
        };
        let count = match self.random() % 10 {
            0..6 => 1,
            6..9 => 2 + self.random() as usize % 4,
            _ if octets < 16_384 => 6 + self.random() as usize % 45,
            _ => 3,
        };
        (octets, count)
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Octets of a line of the stock.
const LINE: usize = 64;

/// Lines of letters; one in sixteen begins with a dot.
fn stock() -> &'static [u8] {
    static STOCK: OnceLock<Vec<u8>> = OnceLock::new();
    STOCK.get_or_init(make_stock)
}

fn make_stock() -> Vec<u8> {
    let mut octets = Vec::with_capacity(STOCK_OCTETS);
    let mut state: u32 = 2_463_534_242;
    while octets.len() < STOCK_OCTETS {
        for place in 0..LINE - 2 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let dotted = place == 0 && state.is_multiple_of(16);
            octets.push(if dotted { b'.' } else { b'a' + (state % 26) as u8 });
        }
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
