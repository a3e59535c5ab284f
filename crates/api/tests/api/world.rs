//! Two tenants with one thing of every kind, what one of them has deleted, and the operator's things.

use crate::document::{Document, Ids};
use crate::harness::{Client, House, PASSWORD};
use crate::search::batch;
use mail::{MessageId, Random};
use registry::Access;
use serde_json::{Value, json};

pub struct World {
    pub house: House,
    pub document: Document,
    pub operator: String,
    /// Whose things are reached for.
    pub owner: Client,
    pub theirs: Ids,
    /// Who reaches.
    pub other: Client,
    pub own: Ids,
    /// Things of `other` that are gone, as far as things can go.
    pub gone: Ids,
    /// A tenant that was erased.
    pub gone_tenant: String,
}

impl World {
    pub async fn open() -> World {
        // The clock of a test stands still, and so does what a credential may ask in ten seconds.
        let (requests_per_second, tenant_requests_per_second) = (1_000_000, 1_000_000);
        let config = api::Config { requests_per_second, tenant_requests_per_second, ..Default::default() };
        let house = House::with(config).await;
        let document = Document::served(&house).await;
        let operator = house.operator().await;
        let owner = house.onboard(&operator, "a.example").await;
        let other = house.onboard(&operator, "b.example").await;
        let third = house.onboard(&operator, "c.example").await;
        house.call("DELETE", &third.path(""), &operator, None).await.expect(202);
        let access = Access::house("test");
        house.database.database.tenant_erase(&access, third.id()).await.unwrap();
        let theirs = things(&house, &operator, &owner, 1).await;
        let own = things(&house, &operator, &other, 2).await;
        let gone = gone(&house, &other).await;
        World { house, document, operator, owner, theirs, other, own, gone, gone_tenant: third.tenant }
    }

    /// Makes a thing and gives its id.
    pub async fn made(&self, path: &str, bearer: &str, body: Value) -> Value {
        self.house.call("POST", path, bearer, Some(body)).await.expect(201)
    }

    /// A person of the tenant of `client` (or of the house) and a token.
    pub async fn person(&self, role: &str, client: Option<&Client>) -> String {
        let email = format!("{role}@{}", client.map_or("posthouse", |client| &client.tenant));
        let email = format!("{email}.example").replace('_', "-");
        let tenant = client.map(|client| client.tenant.clone());
        let body = json!({"email": email, "password": PASSWORD, "role": role, "tenant": tenant});
        self.made("/v1/users", &self.operator, body).await;
        let login = json!({"email": email, "password": PASSWORD});
        let token = self.house.call("POST", "/v1/auth/token", "", Some(login)).await.expect(200);
        token["access_token"].as_str().unwrap().to_owned()
    }
}

/// Things that may be changed and deleted without an end of the tenant's own access.
async fn things(house: &House, operator: &str, client: &Client, n: u64) -> Ids {
    let text = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let make = async |path: &str, bearer: &str, body: Value| {
        text(&house.call("POST", path, bearer, Some(body)).await.expect(201))
    };
    let within = |rest: &str| client.path(rest);
    let key = &client.key;
    let stream = json!({"name": "spare", "kind": "transactional"});
    let source =
        json!({"name": format!("spare-{n}"), "address": format!("127.0.9.{n}"), "ehlo": "s.posthouse.test"});
    let pool = json!({"name": format!("own-{n}"), "tenant": client.tenant});
    let user = json!({"email": format!("spare{n}@posthouse.test"), "password": PASSWORD, "role": "auditor"});
    let now = mail::Clock::timestamp(&*house.clock);
    let message = MessageId::mint(now, &mut Random::from_number(n));
    let of = client.answer["streams"][1]["id"].as_str().unwrap().parse().unwrap();
    let mut told = batch(client, of, message, now);
    told.position = vec![n as u8];
    house.database.database.projection_apply(&Access::house("test"), &told).await.unwrap();
    Ids::from([
        ("stream", make(&within("/streams"), key, stream).await),
        ("domain", client.domain.clone()),
        ("credential", make(&within("/credentials"), key, json!({"name": "Spare"})).await),
        ("api_key", make(&within("/api-keys"), key, json!({"name": "Spare", "scopes": ["read"]})).await),
        ("webhook", make(&within("/webhooks"), key, json!({"url": "https://hooks.example/x"})).await),
        ("message", message.to_string()),
        ("pool", make("/v1/pools", operator, pool).await),
        ("source", make("/v1/sources", operator, source).await),
        ("user", make("/v1/users", operator, user).await),
    ])
}

/// Credentials and API keys stay listed when they are revoked, and messages are not deleted by anybody.
async fn gone(house: &House, client: &Client) -> Ids {
    let mut gone = Ids::new();
    for (name, collection, body) in [
        ("stream", "/streams", json!({"name": "gone", "kind": "marketing"})),
        ("domain", "/domains", json!({"name": "gone.example"})),
        ("webhook", "/webhooks", json!({"url": "https://hooks.example/gone"})),
    ] {
        let made = house.call("POST", &client.path(collection), &client.key, Some(body)).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        let path = client.path(&format!("{collection}/{id}"));
        house.call("DELETE", &path, &client.key, None).await.expect(204);
        gone.insert(name, id);
    }
    gone
}
