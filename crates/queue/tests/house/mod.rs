//! A queue with tenants, domains and a clock that the test moves by hand.
#![allow(dead_code)]

use mail::{Domain, DomainId, Instant, MessageId, PoolId, Random, SiteName, StreamId, TenantId, Timestamp};
use queue::{Destination, Entry, Flow, Queue, TlsNeed, Urgency};
use std::collections::HashMap;
use std::time::Duration;

pub struct House {
    pub queue: Queue,
    pub now: Instant,
    random: Random,
    tenants: Vec<TenantId>,
    numbers: HashMap<TenantId, u64>,
    stream: StreamId,
    /// What is inserted from now on is from it.
    pub sending_domain: DomainId,
    pub pool: PoolId,
    /// Stands in for `pool` when a test says so.
    pub overflow: PoolId,
    /// Of what is inserted from now on.
    pub tls: TlsNeed,
}

impl House {
    pub fn new() -> House {
        let mut random = Random::from_number(77);
        let at = Timestamp::from_millis(1_795_425_249_120);
        let tenants: Vec<_> = (0..500).map(|_| TenantId::mint(at, &mut random)).collect();
        let numbers = tenants.iter().enumerate().map(|(number, id)| (*id, number as u64)).collect();
        let (stream, pool) = (StreamId::mint(at, &mut random), PoolId::mint(at, &mut random));
        let sending_domain = DomainId::mint(at, &mut random);
        let overflow = PoolId::mint(at, &mut random);
        let now = Instant::from_micros(1_000_000);
        House {
            queue: Queue::new(),
            now,
            random,
            tenants,
            numbers,
            stream,
            sending_domain,
            pool,
            overflow,
            tls: TlsNeed::AsSite,
        }
    }

    pub fn tenant(&self, number: u64) -> TenantId {
        self.tenants[number as usize]
    }

    /// What is inserted from now on is from another domain, the one that is returned.
    pub fn another_sending_domain(&mut self) -> DomainId {
        self.sending_domain = DomainId::mint(Timestamp::from_millis(5), &mut self.random);
        self.sending_domain
    }

    pub fn number_of(&self, tenant: TenantId) -> u64 {
        self.numbers[&tenant]
    }

    pub fn advance(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub fn insert(&mut self, tenant: u64, domain: &str, octets: u32) -> MessageId {
        self.insert_as(tenant, domain, octets, Urgency::Bulk, Duration::ZERO)
    }

    pub fn insert_as(
        &mut self,
        tenant: u64,
        domain: &str,
        octets: u32,
        urgency: Urgency,
        due: Duration,
    ) -> MessageId {
        let message = MessageId::mint(Timestamp::from_millis(5), &mut self.random);
        self.insert_recipient(message, 0, tenant, domain, octets, urgency, due);
        message
    }

    #[allow(clippy::too_many_arguments)]
    pub fn insert_recipient(
        &mut self,
        message: MessageId,
        recipient: u32,
        tenant: u64,
        domain: &str,
        octets: u32,
        urgency: Urgency,
        due: Duration,
    ) {
        let expires = self.now + Duration::from_secs(3600);
        let entry = Entry { message, position: 0, recipient, attempt: 0, expires, octets };
        let flow = Flow {
            tenant: self.tenant(tenant),
            stream: self.stream,
            sending_domain: self.sending_domain,
            pool: self.pool,
            urgency,
            tls: self.tls,
        };
        let (domain, site) = (Domain::parse(domain).unwrap(), SiteName::new(domain));
        self.queue.insert(
            entry,
            &flow,
            Destination { pool: self.pool, domain: &domain, site: &site },
            self.now + due,
            self.now,
        );
    }
}
