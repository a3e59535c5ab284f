//! A name server of a few lines on loopback: answers TXT and CNAME from a table, NXDOMAIN for the rest.

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

type Table = Arc<Mutex<HashMap<(String, RecordType), Vec<String>>>>;

pub struct NameServer {
    pub address: SocketAddr,
    table: Table,
    /// Answers SERVFAIL to everything while set.
    broken: Arc<Mutex<bool>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub async fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (table, broken) = (Table::default(), Arc::new(Mutex::new(false)));
        let task = tokio::spawn(serve(socket, Arc::clone(&table), Arc::clone(&broken)));
        NameServer { address, table, broken, task }
    }

    pub fn publish(&self, host: &str, kind: &str, value: &str) {
        let kind = match kind {
            "TXT" => RecordType::TXT,
            "CNAME" => RecordType::CNAME,
            other => panic!("no {other} here"),
        };
        let key = (host.to_lowercase(), kind);
        self.table.lock().unwrap().entry(key).or_default().push(value.to_owned());
    }

    pub fn unpublish(&self, host: &str) {
        self.table.lock().unwrap().retain(|(known, _), _| known != host);
    }

    pub fn break_down(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, table: Table, broken: Arc<Mutex<bool>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let Ok(question) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let answer = answer(&question, &table, *broken.lock().unwrap());
        let _ = socket.send_to(&answer.to_vec().unwrap(), peer).await;
    }
}

fn answer(question: &Message, table: &Table, broken: bool) -> Message {
    let query = question.queries[0].clone();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    let host = query.name().to_ascii().trim_end_matches('.').to_lowercase();
    let values = table.lock().unwrap().get(&(host, query.query_type())).cloned().unwrap_or_default();
    if broken {
        answer.metadata.response_code = ResponseCode::ServFail;
    } else if values.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    for value in values.iter().filter(|_| !broken) {
        let data = match query.query_type() {
            RecordType::CNAME => RData::CNAME(CNAME(Name::from_ascii(format!("{value}.")).unwrap())),
            // A DKIM key is longer than one string may be.
            _ => RData::TXT(TXT::new(
                value.as_bytes().chunks(200).map(|part| String::from_utf8_lossy(part).into_owned()).collect(),
            )),
        };
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
    }
    answer.add_query(query);
    answer
}
