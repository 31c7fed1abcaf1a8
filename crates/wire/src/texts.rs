//! The texts of a body that its later parts name by number. Bytes are in few large blocks, so that a million short texts
//! are no million allocations, and nothing is copied when there are more.

/// Bytes of a block; a text that is longer has its own.
const BLOCK: usize = 64 << 10;
/// About what a text takes besides its bytes, whoever looks for it included.
const OVERHEAD: usize = 40;

#[derive(Debug, Default)]
pub(crate) struct Texts {
    blocks: Vec<String>,
    all: Vec<Place>,
    bytes: usize,
}

/// Where a text is.
#[derive(Clone, Copy, Debug)]
struct Place {
    block: u32,
    start: u32,
    length: u32,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        if self.blocks.last().is_none_or(|block| block.capacity() - block.len() < text.len()) {
            // A small body gets a small block.
            let usual = if self.blocks.is_empty() { BLOCK / 16 } else { BLOCK };
            self.blocks.push(String::with_capacity(usual.max(text.len())));
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let block = number(self.blocks.len() - 1);
        let Some(last) = self.blocks.last_mut() else { return };
        self.all.push(Place { block, start: number(last.len()), length: number(text.len()) });
        last.push_str(text);
        self.bytes += text.len();
    }

    pub(crate) fn get(&self, number: usize) -> Option<&str> {
        let Place { block, start, length } = *self.all.get(number)?;
        let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        self.blocks.get(usize::try_from(block).ok()?)?.get(start..start + length)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// About what they take in memory.
    pub(crate) fn weight(&self) -> usize {
        self.bytes + self.all.len() * OVERHEAD
    }

    /// Forgets all but the first so many.
    pub(crate) fn truncate(&mut self, length: usize) {
        while self.all.len() > length
            && let Some(place) = self.all.pop()
        {
            self.bytes -= place.length as usize;
            self.blocks.truncate(place.block as usize + 1);
            if let Some(block) = self.blocks.last_mut() {
                block.truncate(place.start as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_there(texts in vec(proptest::prop_oneof!["[aé]{0,9}", (0..9000usize).prop_map(|n| "x".repeat(n))], 0..60), cut in 0..60usize) {
            let mut all = Texts::default();
            texts.iter().for_each(|text| all.push(text));
            let check = |all: &Texts, want: &[String]| {
                let got: Vec<_> = (0..all.len()).map_while(|at| all.get(at)).collect();
                prop_assert_eq!(got, want);
                prop_assert_eq!(all.get(want.len()), None);
                let bytes: usize = want.iter().map(String::len).sum();
                prop_assert_eq!(all.weight(), bytes + want.len() * OVERHEAD);
                Ok(())
            };
            check(&all, &texts)?;
            let cut = cut.min(texts.len());
            all.truncate(cut);
            check(&all, &texts[..cut])?;
            texts[cut..].iter().for_each(|text| all.push(text));
            check(&all, &texts)?;
        }
    }
}
