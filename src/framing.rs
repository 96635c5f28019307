//! Texts and points as bytes, for files that live for seconds.

use crate::model::{QueryPoints, Timestamps};

pub(crate) fn put_len(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u64).to_le_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

pub(crate) fn put_points(out: &mut Vec<u8>, (timestamps, values): (&Timestamps, &[f64])) {
    put_len(out, values.len());
    match timestamps {
        Timestamps::Every { first, step, .. } => {
            out.push(1);
            out.extend(first.to_le_bytes());
            out.extend(step.to_le_bytes());
        }
        Timestamps::Listed(all) => {
            out.push(0);
            all.iter().for_each(|t| out.extend(t.to_le_bytes()));
        }
    }
    // Zeros and constants are a good part of all metrics.
    match values.first().map(|v| v.to_bits()) {
        Some(first) if values.iter().all(|v| v.to_bits() == first) => {
            out.push(1);
            out.extend(first.to_le_bytes());
        }
        _ => {
            out.push(0);
            let from = out.len();
            out.resize(from + values.len() * 8, 0);
            let places = out[from..].as_chunks_mut::<8>().0;
            for (place, value) in places.iter_mut().zip(values) {
                *place = value.to_bits().to_le_bytes();
            }
        }
    }
}

/// Reads what was written so, as long as there is enough of it.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }

    pub(crate) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.i64()?).ok()
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let n = self.len()?;
        std::str::from_utf8(self.take(n)?).ok()
    }

    pub(crate) fn points(&mut self) -> Option<QueryPoints> {
        let n = self.len()?;
        let regular = self.take(1)? == [1];
        let timestamps = if regular {
            let (first, step) = (self.i64()?, self.i64()?);
            Timestamps::Every {
                first,
                step,
                count: n,
            }
        } else {
            (0..n).map(|_| self.i64()).collect::<Option<_>>()?
        };
        let constant = self.take(1)? == [1];
        let values = if constant {
            vec![f64::from_bits(self.i64()?.cast_unsigned()); n]
        } else {
            let bytes = self.take(n.checked_mul(8)?)?.as_chunks::<8>().0;
            bytes
                .iter()
                .map(|b| f64::from_bits(u64::from_le_bytes(*b)))
                .collect()
        };
        Some(QueryPoints { timestamps, values })
    }
}
