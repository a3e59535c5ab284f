//! The text of a message on its way out, block by block, with leading dots doubled where DATA wants that (RFC 5321
//! §4.5.2).
//!
//! Called by the client (`client/site.rs`), which never has more than one block in hand. A block is a slice of the message;
//! only one with a line that begins with a dot is copied, and no other. So a message is in memory once, by whomever
//! that is counted, and a site that reads slowly costs one block more.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

/// Octets of the message in a block; doubled dots come on top. A session writes in blocks of this size, so that "was it all
/// handed over?" has an answer.
pub(crate) const BLOCK_OCTETS: usize = 64 * 1024;

/// What becomes of dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dots {
    /// Those that lines begin with are doubled.
    Doubled,
    /// Nothing ends at a dot.
    Kept,
}

/// What is left to be written of a text.
#[derive(Debug)]
pub(crate) struct Text {
    raw: Bytes,
    written: usize,
    dots: Dots,
}

impl Text {
    pub fn new(raw: Bytes, dots: Dots) -> Text {
        Text { raw, written: 0, dots }
    }

    /// Of the message, that are left.
    pub fn octets(&self) -> usize {
        self.raw.len() - self.written
    }

    pub fn is_empty(&self) -> bool {
        self.written == self.raw.len()
    }

    /// The next block; empty at the end.
    pub fn next_block(&mut self) -> Bytes {
        let (start, end) = (self.written, self.raw.len().min(self.written + BLOCK_OCTETS));
        self.written = end;
        match self.dots {
            Dots::Doubled if leading_dots(&self.raw, start, end).next().is_some() => {
                let mut block = BytesMut::with_capacity(end - start + (end - start) / 32 + 16);
                double(&self.raw, start, end, &mut block);
                block.freeze()
            }
            Dots::Doubled | Dots::Kept => self.raw.slice(start..end),
        }
    }

    /// All of it, appended to `out`.
    pub fn append_to(self, out: &mut BytesMut) {
        match self.dots {
            Dots::Doubled => double(&self.raw, self.written, self.raw.len(), out),
            Dots::Kept => out.put_slice(&self.raw[self.written..]),
        }
    }
}

/// The end of a message that goes by DATA.
pub(crate) fn end_of(text: &[u8]) -> Bytes {
    Bytes::from_static(if text.is_empty() || text.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" })
}

fn double(text: &[u8], start: usize, end: usize, out: &mut BytesMut) {
    let mut copied = start;
    for dot in leading_dots(text, start, end) {
        out.put_slice(&text[copied..=dot]);
        copied = dot;
    }
    out.put_slice(&text[copied..end]);
}

/// Where between `start` and `end` a line begins with a dot. Its CRLF may lie before `start`.
fn leading_dots(text: &[u8], start: usize, end: usize) -> impl Iterator<Item = usize> {
    let first = (start == 0 && text.first() == Some(&b'.') && end > 0).then_some(0);
    let window = start.saturating_sub(2);
    let others = memmem::find_iter(&text[window..end], b"\r\n.").map(move |found| window + found + 2);
    first.into_iter().chain(others)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::data::{DataReader, Progress};

    fn blocks(raw: &Bytes, dots: Dots) -> Vec<Bytes> {
        let mut text = Text::new(raw.clone(), dots);
        std::iter::from_fn(|| (!text.is_empty()).then(|| text.next_block())).collect()
    }

    fn stuffed(raw: &[u8]) -> Vec<u8> {
        let raw = Bytes::copy_from_slice(raw);
        [blocks(&raw, Dots::Doubled).concat(), end_of(&raw).to_vec()].concat()
    }

    #[test]
    fn every_leading_dot_is_doubled_and_no_other() {
        assert_eq!(&stuffed(b".a\r\n\r\n.\r\n..\r\nb.c")[..], b"..a\r\n\r\n..\r\n...\r\nb.c\r\n.\r\n");
        assert_eq!(&stuffed(b"a\n.\r\n")[..], b"a\n.\r\n.\r\n", "a bare LF ends no line");
        assert_eq!(&stuffed(b"")[..], b".\r\n");
    }

    /// The line that begins with a dot lies across the edge of a block in every way.
    #[test]
    fn a_dot_at_the_edge_of_a_block_is_doubled_once() {
        for before in BLOCK_OCTETS - 5..=BLOCK_OCTETS + 2 {
            let text = [&vec![b'x'; before][..], b"\r\n.dot\r\n"].concat();
            let wanted = [&vec![b'x'; before][..], b"\r\n..dot\r\n.\r\n"].concat();
            assert!(stuffed(&text) == wanted, "{before} octets before it");
        }
    }

    /// No second copy of a large message: what is copied is a block, and only one with a dot.
    #[test]
    fn only_a_block_with_a_leading_dot_is_copied_and_it_alone() {
        let mut text = "0123456789abcde\r\n".repeat(40_000);
        text.replace_range(300_000 / 17 * 17..300_000 / 17 * 17 + 1, ".");
        let raw = Bytes::from(text);
        let within = raw.as_ptr_range();
        let (kept, doubled) = (blocks(&raw, Dots::Kept), blocks(&raw, Dots::Doubled));
        let copied = |blocks: &[Bytes]| {
            blocks
                .iter()
                .filter(|block| !within.contains(&block.as_ptr()))
                .map(Bytes::len)
                .collect::<Vec<_>>()
        };
        assert_eq!((copied(&kept), copied(&doubled)), (vec![], vec![BLOCK_OCTETS + 1]));
        assert!(doubled.iter().all(|block| block.len() <= BLOCK_OCTETS + 1));
        assert_eq!(kept.concat(), raw);
    }

    proptest::proptest! {
        #[test]
        fn what_is_stuffed_reads_the_same(lines in proptest::collection::vec("[.a]{0,4}", 0..20), cut in 0_usize..100) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let limits = Limits::default();
            let wire = stuffed(text.as_bytes());
            let mut whole = BytesMut::new();
            Text::new(Bytes::from(text.clone()), Dots::Doubled).append_to(&mut whole);
            proptest::prop_assert_eq!(&[&whole[..], &end_of(text.as_bytes())[..]].concat(), &wire);
            let (first, second) = wire.split_at(cut.min(wire.len() - 1));
            let mut reader = DataReader::new(&limits, None);
            proptest::prop_assert_eq!(reader.read(first), Progress::More);
            proptest::prop_assert_eq!(reader.read(second), Progress::End(second.len()));
            proptest::prop_assert_eq!(&reader.finish(&limits).unwrap()[..], text.as_bytes());
        }
    }
}
