//! Which records are told for the first time, where the projection goes back and reads again. Pure.
//!
//! After a piece of the journal can be read that could not, all that lies behind it is told again and changes no row; it must
//! not be counted and measured again either. New are what lies behind the place up to which records were told, and what was
//! given now. What may surprise: an outcome that was left out because its message lay in that piece was counted when it
//! was read first.

use spool::{Position, Span};

/// What was passed over, was given, and is not told yet: in the order of the log, no two of it touching.
#[derive(Debug, Default)]
pub(crate) struct News(Vec<Span>);

impl News {
    /// These were passed over and can be read. One of them may be here already, if it was owed again.
    pub fn given(&mut self, spans: Vec<Span>) {
        self.0.extend(spans);
        self.0.sort_unstable_by_key(|span| span.from);
        self.0.dedup_by(|next, last| {
            let touches = next.from <= last.to;
            if touches {
                last.to = last.to.max(next.to);
            }
            touches
        });
    }

    /// Whether the record at `position` is told for the first time. Up to `told` everything was told that could be read.
    pub fn has(&self, position: Position, told: Position) -> bool {
        let before = self.0.partition_point(|span| span.from <= position);
        position >= told || before.checked_sub(1).is_some_and(|last| position < self.0[last].to)
    }

    /// It was read on up to `position`: what was given before it is told, or is owed again.
    pub fn past(&mut self, position: Position) {
        let done = self.0.partition_point(|span| span.to <= position);
        self.0.drain(..done);
        if let Some(first) = self.0.first_mut() {
            first.from = first.from.max(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(octet: u64) -> Position {
        Position::from_u64(octet)
    }

    /// Reads from `from` up to `to`, ten octets a record, in parts of three; the places of the records that count.
    fn counted(news: &mut News, (from, to): (u64, u64), told: &mut Position) -> Vec<u64> {
        let records: Vec<u64> = (from..to).step_by(10).collect();
        let mut counted = Vec::new();
        for part in records.chunks(3) {
            counted.extend(part.iter().filter(|place| news.has(at(**place), *told)));
            let end = part.last().map_or(from, |last| last + 10);
            (*told, _) = ((*told).max(at(end)), news.past(at(end)));
        }
        counted
    }

    #[test]
    fn each_record_counts_once_however_often_it_is_read() {
        let (mut news, mut told) = (News::default(), at(0));
        assert_eq!(counted(&mut news, (0, 30), &mut told), [0, 10, 20]);
        // From 30 to 60 and from 70 to 90 nothing is given.
        assert_eq!(counted(&mut news, (60, 70), &mut told), [60]);
        assert_eq!(counted(&mut news, (90, 120), &mut told), [90, 100, 110]);
        news.given(vec![Span { from: at(70), to: at(90) }]);
        assert_eq!(counted(&mut news, (60, 120), &mut told), [70, 80]);
        // The other one is given in pieces, one of them twice, and reading is cut off in between.
        let span = |from, to| Span { from: at(from), to: at(to) };
        news.given(vec![span(40, 60)]);
        news.given(vec![span(30, 40), span(50, 60)]);
        assert_eq!(counted(&mut news, (30, 50), &mut told), [30, 40]);
        assert_eq!(counted(&mut news, (30, 150), &mut told), [50, 120, 130, 140]);
        assert!(counted(&mut news, (0, 150), &mut told).is_empty() && news.0.is_empty());
    }
}
