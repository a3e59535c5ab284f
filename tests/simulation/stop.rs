//! An orderly end: nothing new is begun, what is under way may finish, and what is known is written.

use crate::agenda::Happening;
use crate::house::Death;
use crate::world::World;
use mail::{Refusal, RefusalKind};
use std::time::Duration;

impl World {
    pub fn shut_down(&mut self) {
        let Some(house) = self.house.as_mut().filter(|house| !house.stopping) else { return };
        house.stopping = true;
        house.dispatcher.handle_drain();
        let (life, doors): (u64, Vec<u64>) = (house.life, house.doors.keys().copied().collect());
        let limit = Duration::from_secs(self.plan.egress.drain_seconds_max);
        self.agenda.add(self.now + limit, Happening::Stop(life));
        for line in doors {
            if let Some(door) = self.house.as_mut().and_then(|house| house.doors.get_mut(&line)) {
                door.refuse(Refusal::new(RefusalKind::ShuttingDown, "this server is shutting down"));
                self.drive_door(line);
            }
        }
        self.plan_dispatch(self.now);
    }

    /// Everything is through, or cut off because its time is over.
    pub fn stop(&mut self) {
        self.act();
        let Some(house) = &mut self.house else { return };
        house.spool.close();
        while house.steps.commit() {}
        if self.look_at_disk() {
            return;
        }
        self.observe();
        if self.capacity.is_none() {
            self.truth.check_stop();
        }
        self.die(Death::Kill);
    }
}
