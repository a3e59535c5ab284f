//! What changes for entries while they wait: where their domain belongs, whether a closed outlet may be open again.
//!
//! The outer half of `turn.rs`. Entries that leave a site together with everybody else there move when their turn
//! comes; those that leave others behind are taken out at once, because the others may stand before a closed gate.

use crate::queue::Queue;
use crate::slot::{NONE, Slot, Urgency};
use crate::turn::End;
use mail::{Domain, SiteName};

impl Queue {
    /// From now on entries of `domain` go to `site`, those that wait for the old site too. Nothing happens for a
    /// domain that nobody waits for.
    pub fn assign_site(&mut self, domain: &Domain, site: &SiteName) {
        let Some(domain) = self.domains.find(domain) else { return };
        let new = self.sites.acquire(site, Vec::new);
        let old = std::mem::replace(self.domains.value_mut(domain), new);
        if old != new {
            let outlets = self.sites.value(old).clone();
            for outlet in &outlets {
                self.open(*outlet);
            }
            // Its users are its outlets, this domain, and the other domains there.
            if self.sites.users(old) as usize > outlets.len() + 1 {
                self.take_out(&outlets, |slot| slot.domain == domain);
            }
        }
        self.sites.release(old);
    }

    /// Ask the gate again about everything that waits for `site`.
    pub fn reopen_site(&mut self, site: &SiteName) {
        let Some(site) = self.sites.find(site) else { return };
        for index in 0..self.sites.value(site).len() {
            self.open(self.sites.value(site)[index]);
        }
    }

    /// Moves what `leaves` from the lanes of `outlets` to where it belongs now, in its order. Takes time by what
    /// stands in these lanes, so it is for what happens seldom.
    fn take_out(&mut self, outlets: &[u32], leaves: impl Fn(&Slot) -> bool) {
        let mut lanes: Vec<u32> = Vec::new();
        for outlet in outlets {
            lanes.extend(&self.outlets.value(*outlet).ring);
        }
        let parked = self.tenants.iter().flat_map(|tenant| &tenant.parked);
        lanes.extend(parked.filter(|lane| outlets.contains(&self.lanes.value(**lane).outlet)));
        for lane in lanes {
            let mut leaving = Vec::new();
            for kind in [Urgency::Prompt, Urgency::Bulk] {
                let mut slot = self.lanes.value(lane).first(kind);
                while slot != NONE {
                    let row = &self.slots[slot as usize];
                    if leaves(row) {
                        leaving.push(slot);
                    }
                    slot = row.next;
                }
            }
            for slot in leaving {
                self.unlink(slot);
                self.make_ready(slot, End::Back);
            }
        }
    }
}
