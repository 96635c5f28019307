//! Values that wait for their row group, in the least bytes that give them back bit for bit: most of what CloudWatch measures is a constant or
//! a small whole number, and a long range has a hundred thousand values waiting in each of its days.

/// How the values of a run stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One stands for all.
    Same,
    /// Whole numbers of one byte.
    Byte,
    /// Of two.
    Short,
    /// Of four.
    Word,
    /// Doubles.
    Double,
}

/// Values of run after run.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
}

impl Packed {
    /// Adds the values of a run, of which there is at least one.
    pub(super) fn push(&mut self, values: &[f64]) -> Form {
        let form = form_of(values);
        match form {
            Form::Same => self.extend::<8>(&values[..1], |v| v.to_bits().to_le_bytes()),
            Form::Byte => self.extend::<1>(values, |v| [whole(v).to_le_bytes()[0]]),
            Form::Short => self.extend::<2>(values, |v| {
                let [low, high, ..] = whole(v).to_le_bytes();
                [low, high]
            }),
            Form::Word => self.extend::<4>(values, |v| whole(v).to_le_bytes()),
            Form::Double => self.extend::<8>(values, |v| v.to_bits().to_le_bytes()),
        }
        form
    }

    fn extend<const N: usize>(&mut self, values: &[f64], bytes: impl Fn(f64) -> [u8; N]) {
        let (from, more) = (self.bytes.len(), values.len() * N);
        if self.bytes.capacity() - from < more {
            // Half as much again: twice would be much for nothing in every day of a long range.
            self.bytes.reserve_exact(more.max(from / 2));
        }
        self.bytes.resize(from + more, 0);
        let places = self.bytes[from..].as_chunks_mut::<N>().0;
        for (place, value) in places.iter_mut().zip(values) {
            *place = bytes(*value);
        }
    }

    /// All values, of runs of these forms and lengths.
    pub(super) fn unpack(&self, runs: impl Iterator<Item = (Form, usize)> + Clone) -> Vec<f64> {
        let count = runs.clone().map(|(_, length)| length).sum();
        let mut all = Vec::with_capacity(count);
        let mut rest = &self.bytes[..];
        for (form, length) in runs {
            match form {
                Form::Same => {
                    let value = take::<8>(&mut rest, 1).first().copied();
                    let value = f64::from_bits(u64::from_le_bytes(value.unwrap_or_default()));
                    all.resize(all.len() + length, value);
                }
                Form::Byte => {
                    let bytes = take::<1>(&mut rest, length);
                    all.extend(bytes.iter().map(|[byte]| f64::from(*byte)));
                }
                Form::Short => {
                    let shorts = take::<2>(&mut rest, length);
                    all.extend(shorts.iter().map(|b| f64::from(u16::from_le_bytes(*b))));
                }
                Form::Word => {
                    let words = take::<4>(&mut rest, length);
                    all.extend(words.iter().map(|b| f64::from(u32::from_le_bytes(*b))));
                }
                Form::Double => {
                    let doubles = take::<8>(&mut rest, length);
                    let double = |b: &[u8; 8]| f64::from_bits(u64::from_le_bytes(*b));
                    all.extend(doubles.iter().map(double));
                }
            }
        }
        all
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8], count: usize) -> &'a [[u8; N]] {
    let (taken, after) = rest.split_at(count * N);
    *rest = after;
    taken.as_chunks().0
}

/// The whole number nearest below that four bytes hold; of what is no number, 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates"
)]
fn whole(value: f64) -> u32 {
    value as u32
}

fn form_of(values: &[f64]) -> Form {
    let first = values[0].to_bits();
    if values.iter().all(|v| v.to_bits() == first) {
        return Form::Same;
    }
    let mut most = 0;
    for value in values {
        let number = whole(*value);
        // A zero with a sign is not the number's.
        if f64::from(number).to_bits() != value.to_bits() {
            return Form::Double;
        }
        most |= number;
    }
    match most {
        0..=0xff => Form::Byte,
        0x100..=0xffff => Form::Short,
        _ => Form::Word,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let numbers = |most: u32| prop::collection::vec((0..=most).prop_map(f64::from), 1..50);
        let run = prop_oneof![
            (any::<u64>(), 1_usize..50).prop_map(|(bits, n)| vec![f64::from_bits(bits); n]),
            numbers(255),
            numbers(65_535),
            numbers(u32::MAX),
            prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..50),
        ];
        prop::collection::vec(run, 0..20)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_bit_for_bit(runs in runs()) {
            let mut packed = Packed::default();
            let forms: Vec<(Form, usize)> = runs.iter().map(|run| (packed.push(run), run.len())).collect();
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&packed.unpack(forms.into_iter())), bits(&runs.concat()));
        }
    }

    #[test]
    fn a_run_takes_what_its_values_need() {
        for (values, form) in [
            (&[-0.0, -0.0][..], Form::Same),
            (&[f64::NAN, f64::NAN], Form::Same),
            (&[0.0, 255.0], Form::Byte),
            (&[0.0, 256.0], Form::Short),
            (&[65_535.0, 65_536.0], Form::Word),
            (&[0.0, 4_294_967_295.0], Form::Word),
            (&[0.0, 4_294_967_296.0], Form::Double),
            (&[0.0, -0.0], Form::Double),
            (&[0.0, f64::NAN], Form::Double),
            (&[0.0, -1.0], Form::Double),
            (&[0.0, 0.5], Form::Double),
            (&[0.0, f64::INFINITY], Form::Double),
        ] {
            assert_eq!(form_of(values), form, "{values:?}");
        }
    }
}
