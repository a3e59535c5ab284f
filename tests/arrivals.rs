//! What the lab received, as the judge wants it: every copy by recipient, with its time and the hash of its body.

use crate::house::web;
use crate::lab::Lab;
use base64::Engine as _;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// Arrivals fetched with one call.
const PAGE: usize = 200;

/// One copy at the lab.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Since the start of the test.
    pub at_ms: u64,
    /// Of the message as it came, in hexadecimal.
    pub sha256: String,
    /// Its Message-ID field.
    pub message_id: String,
    /// Of the body; none if the lab forgot the text.
    pub hash: Option<u64>,
}

/// All that came, by recipient.
pub struct Arrivals {
    http: reqwest::blocking::Client,
    last: String,
    /// By SHA-256: Message-ID and the hash of the body.
    texts: HashMap<String, (String, u64)>,
    /// By address, in the order in which they came.
    pub copies: HashMap<String, Vec<Copy>>,
}

impl Arrivals {
    /// Nothing came yet.
    pub fn new() -> Arrivals {
        Arrivals { http: web(), last: String::new(), texts: HashMap::new(), copies: HashMap::new() }
    }

    /// Fetches what is new. Often enough, or the lab forgets the texts.
    pub fn collect(&mut self, lab: &Lab) {
        loop {
            let list = self.fetch(&format!("{}/arrivals?limit={PAGE}&since={}", lab.control(), self.since()));
            let list = list.as_array().unwrap();
            list.iter().for_each(|arrival| self.take(lab, arrival));
            if let Some(last) = list.last() {
                self.last = last["id"].as_str().unwrap().to_owned();
            }
            if list.len() < PAGE {
                return;
            }
        }
    }

    fn fetch(&self, url: &str) -> Value {
        serde_json::from_str(&self.http.get(url).send().unwrap().text().unwrap()).unwrap()
    }

    /// At first everything is wanted.
    fn since(&self) -> &str {
        if self.last.is_empty() { "0" } else { &self.last }
    }

    fn take(&mut self, lab: &Lab, arrival: &Value) {
        let at = mail::Timestamp::parse_rfc3339(arrival["at"].as_str().unwrap()).unwrap();
        let sha256 = arrival["sha256"].as_str().unwrap().to_owned();
        // The same octets for every recipient: one copy of the text is enough.
        if !self.texts.contains_key(&sha256) {
            let whole =
                self.fetch(&format!("{}/arrivals/{}", lab.control(), arrival["id"].as_str().unwrap()));
            if let Some(raw) = whole["raw"].as_str() {
                let raw = base64::engine::general_purpose::STANDARD.decode(raw).unwrap();
                self.texts.insert(sha256.clone(), (message_id(&raw), hash_of(body_of(&raw))));
            }
        }
        let text = self.texts.get(&sha256).cloned();
        let (message_id, hash) = text.map_or((String::new(), None), |(id, hash)| (id, Some(hash)));
        let copy = Copy { at_ms: at.as_millis() as u64, sha256, message_id, hash };
        for recipient in arrival["rcpt_to"].as_array().unwrap() {
            self.copies.entry(recipient.as_str().unwrap().to_owned()).or_default().push(copy.clone());
        }
    }
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals::new()
    }
}

/// The same for the same octets within one run.
pub fn hash_of(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(octets);
    hasher.finish()
}

/// What follows the empty line.
pub fn body_of(raw: &[u8]) -> &[u8] {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |at| &raw[at + 4..])
}

fn message_id(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len() - body_of(raw).len()]).into_owned();
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    line.map(|line| line[11..].trim().to_owned()).unwrap_or_default()
}
