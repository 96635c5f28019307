//! Parquet's hybrid of run lengths and bit-packing: levels and dictionary indices.
//!
//! # Source
//! parquet-format, `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid (RLE = 3)".

/// Small numbers on their way into a page.
#[derive(Debug)]
pub(super) struct Hybrid {
    width: u32,
    out: Vec<u8>,
    /// Whole groups of eight not yet given their header.
    packed: Vec<u8>,
    /// The group that is being filled.
    open: [u32; 8],
    held: usize,
}

impl Hybrid {
    /// Numbers below 2^`width`, behind whatever `out` holds.
    pub(super) fn new(width: u32, out: Vec<u8>) -> Self {
        Self {
            width,
            out,
            packed: Vec::new(),
            open: [0; 8],
            held: 0,
        }
    }

    /// Adds `value`, `count` times.
    pub(super) fn repeat(&mut self, value: u32, count: usize) {
        let mut left = count;
        if self.held > 0 {
            let taken = left.min(8 - self.held);
            self.open[self.held..self.held + taken].fill(value);
            self.held += taken;
            left -= taken;
            if self.held == 8 {
                self.close_group();
            }
        }
        if left >= 8 {
            self.end_packed();
            put_varint(&mut self.out, (left as u64) << 1);
            let bytes = value.to_le_bytes();
            self.out
                .extend_from_slice(&bytes[..self.width.div_ceil(8) as usize]);
        } else if left > 0 {
            self.open[..left].fill(value);
            self.held = left;
        }
    }

    /// Adds numbers that mostly differ.
    pub(super) fn extend(&mut self, values: &[u32]) {
        let mut at = 0;
        while at < values.len() {
            let rest = &values[at..];
            if self.held > 0 || rest.len() < 8 {
                self.repeat(rest[0], 1);
                at += 1;
                continue;
            }
            let (group, _) = rest.as_chunks::<8>();
            if group[0].iter().all(|v| *v == rest[0]) {
                let length = rest.iter().take_while(|v| **v == rest[0]).count();
                self.repeat(rest[0], length);
                at += length;
            } else {
                pack(&group[0], self.width, &mut self.packed);
                at += 8;
            }
        }
    }

    /// Adds the same numbers, `times` over: the cost is that of eight rounds and a copy.
    pub(super) fn repeat_all(&mut self, pattern: &[u32], times: usize) {
        if let [value] = pattern {
            return self.repeat(*value, times);
        }
        let total = pattern.len() * times;
        let mut at = 0;
        while self.held > 0 && at < total {
            self.repeat(pattern[at % pattern.len()], 1);
            at += 1;
        }
        // Eight rounds end where a group ends.
        let round = 8 * pattern.len();
        let rounds = (total - at) / round.max(1);
        if rounds > 0 {
            let from = self.packed.len();
            for group in 0..pattern.len() {
                let value = |i: usize| pattern[(at + group * 8 + i) % pattern.len()];
                pack(&std::array::from_fn(value), self.width, &mut self.packed);
            }
            let to = self.packed.len();
            for _ in 1..rounds {
                self.packed.extend_from_within(from..to);
            }
            at += rounds * round;
        }
        while at < total {
            self.repeat(pattern[at % pattern.len()], 1);
            at += 1;
        }
    }

    /// Everything, the last group filled with zeros that no reader looks at.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.held > 0 {
            self.open[self.held..].fill(0);
            self.close_group();
        }
        self.end_packed();
        self.out
    }

    fn close_group(&mut self) {
        pack(&self.open, self.width, &mut self.packed);
        self.held = 0;
    }

    fn end_packed(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        let groups = self.packed.len() / self.width as usize;
        put_varint(&mut self.out, (groups as u64) << 1 | 1);
        self.out.append(&mut self.packed);
    }
}

/// Bits that hold every number up to `largest`; at least one, as some readers take no less.
pub(super) fn width_of(largest: usize) -> u32 {
    (usize::BITS - largest.leading_zeros()).max(1)
}

fn pack(group: &[u32; 8], width: u32, out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0_u64, 0);
    for value in group {
        bits |= u64::from(*value) << held;
        held += width;
        if held >= 32 {
            out.extend_from_slice(&low_half(bits).to_le_bytes());
            bits >>= 32;
            held -= 32;
        }
    }
    let rest = low_half(bits).to_le_bytes();
    out.extend_from_slice(&rest[..held.div_ceil(8) as usize]);
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low_half(bits: u64) -> u32 {
    bits as u32
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader written from the specification.
    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let length = usize::try_from(header >> 1).expect("fits");
            if header & 1 == 1 {
                let (packed, rest) = bytes.split_at(length * width as usize);
                bytes = rest;
                for n in 0..length * 8 {
                    let bit = |b: usize| {
                        let at = n * width as usize + b;
                        u32::from(packed[at / 8] >> (at % 8) & 1) << b
                    };
                    values.push((0..width as usize).map(bit).sum());
                }
            } else {
                let (value, rest) = bytes.split_at(width.div_ceil(8) as usize);
                bytes = rest;
                let mut word = [0; 4];
                word[..value.len()].copy_from_slice(value);
                values.extend(std::iter::repeat_n(u32::from_le_bytes(word), length));
            }
        }
        assert!(bytes.is_empty(), "nothing is left over");
        values.truncate(count);
        values
    }

    #[derive(Clone, Debug)]
    enum Step {
        Repeat(u32, usize),
        Extend(Vec<u32>),
        Pattern(Vec<u32>, usize),
    }

    fn steps(width: u32) -> impl Strategy<Value = Vec<Step>> {
        let value = move || 0..=(u32::MAX >> (32 - width));
        let few = move || prop::collection::vec(value(), 1..40);
        prop::collection::vec(
            prop_oneof![
                (value(), 0_usize..40).prop_map(|(v, n)| Step::Repeat(v, n)),
                few().prop_map(Step::Extend),
                (prop::collection::vec(value(), 1..6), 0_usize..40)
                    .prop_map(|(p, n)| Step::Pattern(p, n)),
            ],
            0..12,
        )
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out((width, steps) in (1_u32..=32).prop_flat_map(|w| (Just(w), steps(w)))) {
            let mut hybrid = Hybrid::new(width, Vec::new());
            let mut expected = Vec::new();
            for step in &steps {
                match step {
                    Step::Repeat(v, n) => {
                        hybrid.repeat(*v, *n);
                        expected.extend(std::iter::repeat_n(*v, *n));
                    }
                    Step::Extend(values) => {
                        hybrid.extend(values);
                        expected.extend(values);
                    }
                    Step::Pattern(pattern, n) => {
                        hybrid.repeat_all(pattern, *n);
                        expected.extend(pattern.repeat(*n));
                    }
                }
            }
            let bytes = hybrid.finish();
            prop_assert_eq!(read(&bytes, width, expected.len()), expected);
        }
    }

    #[test]
    fn a_long_run_takes_three_bytes() {
        let mut hybrid = Hybrid::new(1, Vec::new());
        hybrid.repeat(1, 1_440);
        assert_eq!(hybrid.finish().len(), 3);
        assert_eq!(
            (width_of(0), width_of(1), width_of(255), width_of(256)),
            (1, 1, 8, 9)
        );
    }
}
