//! A plot with a lab and a PostgreSQL outside of the house, so that a start takes a quarter of a second.

use posthouse_tests::client::Door;
use posthouse_tests::house::{House, Plot, Tenant};
use posthouse_tests::lab::Lab;
use posthouse_tests::postgres::Outside;

pub struct Site {
    pub plot: Plot,
    pub lab: Lab,
    pub database: Outside,
}

impl Site {
    pub fn new() -> Site {
        let (lab, database) = (Lab::start(), Outside::new());
        let mut plot = Plot::new().with_database(database.url());
        plot.settle_in(&lab);
        // Deferred mail comes while the test still looks.
        plot.set("egress.retry_seconds", "[1]");
        plot.set("egress.dead_seconds_first", "1");
        plot.set("egress.dead_seconds_max", "2");
        plot.set("egress.limits.messages_per_second", "0");
        Site { plot, lab, database }
    }

    pub fn start(&self) -> House {
        self.plot.start_in(&self.lab)
    }

    pub fn door(&self, house: &House, tenant: &Tenant) -> Door {
        Door::of(house, tenant)
    }
}
