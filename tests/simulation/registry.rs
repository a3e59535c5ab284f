//! The registry of a simulated world: three tenants with a domain, a credential and a stream each, one pool.

use crate::agenda::START;
use crate::plan::{SOURCES, TENANTS};
use mail::dkim::SigningKey;
use mail::{
    CredentialId, DkimKeyId, Domain, DomainId, PoolId, Random, SourceId, SourceName, StreamId, TenantId,
};
use registry::{
    DomainState, EgressPool, EgressSource, Generation, PoolMember, SecretKey, Snapshot, SnapshotBuilder,
    SourceState, Stream, StreamKind, Tenant, TenantStatus, sample,
};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub const PASSWORD: &str = "correct horse battery staple";

/// PKCS #8 of an Ed25519 key whose secret is a row of sevens: signatures have to be the same in every run.
static KEY: LazyLock<Arc<SigningKey>> = LazyLock::new(|| {
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend([7; 32]);
    Arc::new(SigningKey::from_pkcs8(&der).unwrap())
});

static SECRETS: LazyLock<Arc<SecretKey>> = LazyLock::new(|| Arc::new(SecretKey::new(&[7; 32])));

/// What can change while a world runs.
pub struct Registry {
    ids: Vec<Ids>,
    pool: PoolId,
    sources: Vec<SourceId>,
    pub paused: Vec<bool>,
    pub held: Vec<bool>,
    generation: i64,
}

struct Ids {
    tenant: TenantId,
    stream: StreamId,
    domain: DomainId,
    credential: CredentialId,
}

impl Registry {
    pub fn new(random: &mut Random) -> Registry {
        let ids = |random: &mut Random| Ids {
            tenant: TenantId::mint(START, random),
            stream: StreamId::mint(START, random),
            domain: DomainId::mint(START, random),
            credential: CredentialId::mint(START, random),
        };
        Registry {
            ids: (0..TENANTS).map(|_| ids(random)).collect(),
            pool: PoolId::mint(START, random),
            sources: (0..SOURCES).map(|_| SourceId::mint(START, random)).collect(),
            paused: vec![false; TENANTS],
            held: vec![false; SOURCES],
            generation: 0,
        }
    }

    pub fn tenant_number(&self, id: TenantId) -> usize {
        self.ids.iter().position(|ids| ids.tenant == id).unwrap()
    }

    pub fn any_source(&self) -> bool {
        self.held.contains(&false)
    }

    /// As it is now; the next one is newer.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.generation += 1;
        let mut builder = SnapshotBuilder::new(Generation(self.generation), START, Arc::clone(&SECRETS));
        for number in 0..TENANTS {
            builder = self.add_tenant(builder, number);
        }
        for (number, id) in self.sources.iter().enumerate() {
            builder = builder.source(EgressSource {
                id: *id,
                name: SourceName::new(format!("out-{number}")),
                address: IpAddr::from([192, 0, 2, number as u8 + 1]),
                ehlo: Domain::parse("out.house.example").unwrap(),
                state: if self.held[number] { SourceState::Held } else { SourceState::Active },
            });
        }
        let members = self.sources.iter().map(|source| PoolMember { source: *source, weight: 1 }).collect();
        let pool = EgressPool { members, ..sample::pool(self.pool, "shared", None) };
        Arc::new(builder.pool(pool).build())
    }

    fn add_tenant(&self, builder: SnapshotBuilder, number: usize) -> SnapshotBuilder {
        let Ids { tenant, stream, domain, credential } = self.ids[number];
        let status = if self.paused[number] { TenantStatus::Paused } else { TenantStatus::Active };
        let key_id = DkimKeyId::mint(START, &mut Random::from_number(number as u64));
        let keys = vec![sample::key(key_id, "ph1", Arc::clone(&KEY))];
        let (username, secret) =
            (format!("tenant-{number}"), SECRETS.password_mac(PASSWORD, mail::Timestamp::UNIX_EPOCH));
        builder
            .tenant(Tenant { status, ..sample::tenant(tenant, START) })
            .stream(Stream {
                // Longer than any world and any jump of its clock: nothing may expire.
                expires_after: Duration::from_secs(30 * 86_400),
                ..sample::stream(stream, tenant, StreamKind::Transactional, self.pool, START)
            })
            .domain(sample::domain(
                domain,
                tenant,
                &format!("t{number}.example"),
                DomainState::Verified,
                keys,
            ))
            .credential(sample::credential(credential, tenant, &username, secret))
    }
}
