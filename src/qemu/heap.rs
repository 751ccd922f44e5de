//! A first-fit allocator of address ranges. It knows nothing of what is stored there.

use std::collections::BTreeMap;

/// The free and the allocated ranges of one stretch of addresses.
#[derive(Debug)]
pub struct Heap {
    /// Start and length of what is free, never two that touch.
    free: BTreeMap<u64, u64>,
    /// Start and length of what is taken.
    taken: BTreeMap<u64, u64>,
}

impl Heap {
    /// A heap of the `length` bytes from `start` on, all of them free. What would be beyond
    /// 64 bits is not part of it.
    pub fn new(start: u64, length: u64) -> Self {
        let length = length.min(u64::MAX - start);
        let free = if length > 0 { BTreeMap::from([(start, length)]) } else { BTreeMap::new() };
        Self { free, taken: BTreeMap::new() }
    }

    /// Takes the first `length` bytes whose start is a multiple of `align`.
    /// `None` when nothing fits, or `align` is no power of two, or `length` is 0.
    pub fn take(&mut self, length: u64, align: u64) -> Option<u64> {
        self.take_after(0, length, align)
    }

    /// The same, but what is aligned is the place `front` bytes behind the start.
    pub fn take_after(&mut self, front: u64, length: u64, align: u64) -> Option<u64> {
        if length == 0 || !align.is_power_of_two() {
            return None;
        }
        let (begin, free, start) = self.free.iter().find_map(|(&begin, &free)| {
            let start = begin.checked_add(front)?.checked_next_multiple_of(align)? - front;
            let needed = (start - begin).checked_add(length)?;
            (needed <= free).then_some((begin, free, start))
        })?;
        self.free.remove(&begin);
        if start > begin {
            self.free.insert(begin, start - begin);
        }
        let (end, free_end) = (start + length, begin + free);
        if end < free_end {
            self.free.insert(end, free_end - end);
        }
        self.taken.insert(start, length);
        Some(start)
    }

    /// Gives back what [`Heap::take`] returned. `false` if that is not taken.
    pub fn give(&mut self, start: u64) -> bool {
        let Some(mut length) = self.taken.remove(&start) else { return false };
        let mut start = start;
        if let Some(after) = self.free.remove(&(start + length)) {
            length += after;
        }
        if let Some((&before, &free)) = self.free.range(..start).next_back()
            && before + free == start
        {
            start = before;
            length += free;
        }
        self.free.insert(start, length);
        true
    }

    /// Start and length of everything that is taken.
    pub fn taken(&self) -> impl Iterator<Item = (u64, u64)> {
        self.taken.iter().map(|(&start, &length)| (start, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Would catch ranges that are not aligned, or taken although they do not fit.
    #[test]
    fn first_fit_and_aligned() {
        let mut heap = Heap::new(0x1010, 0x3000);
        assert_eq!(heap.take(0x10, 0x1000), Some(0x2000));
        assert_eq!(heap.take(0x20, 16), Some(0x1010), "the gap before it is used");
        assert_eq!(heap.take(0x3000, 1), None);
        assert_eq!(heap.take(0, 1), None);
        assert_eq!(heap.take(1, 3), None);
        assert!(heap.give(0x2000) && heap.give(0x1010));
        assert!(!heap.give(0x1010), "given back twice");
        assert_eq!(heap.take(0x3000, 1), Some(0x1010), "neighbours have grown together");
        assert_eq!(heap.taken().collect::<Vec<_>>(), [(0x1010, 0x3000)]);
        assert_eq!(Heap::new(8, 0).take(1, 1), None);
        assert_eq!(Heap::new(u64::MAX - 8, 8).take(4, 1 << 63), None, "no overflow");
        assert_eq!(Heap::new(u64::MAX - 8, 80).take(8, 1), Some(u64::MAX - 8), "cut off");
        assert_eq!(Heap::new(u64::MAX - 8, 80).take(9, 1), None, "cut off");
    }

    /// Would catch the start aligned instead of what lies behind it, or an overflow.
    #[test]
    fn what_lies_behind_the_front_is_aligned() {
        let mut heap = Heap::new(0x1000, 0x2000);
        assert_eq!(heap.take_after(0x10, 0x20, 0x10), Some(0x1000));
        assert_eq!(heap.take_after(0x10, 0x20, 0x1000), Some(0x1ff0), "nothing is wasted");
        assert_eq!(heap.take_after(u64::MAX, 1, 1), None);
        assert_eq!(heap.take_after(1, u64::MAX, 1), None);
    }

    proptest! {
        /// Would catch two ranges that overlap, one outside the heap, or space that is
        /// lost by taking and giving back.
        #[test]
        fn ranges_never_overlap(
            steps in prop::collection::vec((1u64..600, 0u32..9, any::<bool>()), 1..80),
        ) {
            let mut heap = Heap::new(100, 4096);
            let mut held = Vec::new();
            for (length, align, give) in steps {
                if give && !held.is_empty() {
                    let (start, _) = held.swap_remove(length as usize % held.len());
                    prop_assert!(heap.give(start));
                } else if let Some(start) = heap.take(length, 1 << align) {
                    prop_assert_eq!(start % (1 << align), 0);
                    prop_assert!(start >= 100 && start + length <= 4196);
                    for &(other, size) in &held {
                        prop_assert!(start + length <= other || other + size <= start);
                    }
                    held.push((start, length));
                }
            }
            for (start, _) in held {
                prop_assert!(heap.give(start));
            }
            prop_assert_eq!(heap.take(4096, 1), Some(100));
        }
    }
}
