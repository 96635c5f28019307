//! What answers in CBOR are read by: maps and arrays of either kind, of a known length or ended by a break.
//!
//! # Source
//! RFC 8949.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

/// A body that `read` reads to its last byte.
///
/// # Errors
/// What `read` refuses; bytes that go on behind it.
pub(crate) fn whole(
    body: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut d = Decoder::new(body);
    read(&mut d)?;
    if d.position() < body.len() {
        return Err(Error::message("bytes are left over"));
    }
    Ok(())
}

/// Every field of a map that is not null.
pub(crate) fn fields(
    d: &mut Decoder<'_>,
    mut field: impl FnMut(&mut Decoder<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left = d.map()?;
    while more(d, &mut left)? {
        let name = text(d)?;
        if d.datatype()? == Type::Null {
            d.null()?;
        } else {
            field(d, &name)?;
        }
    }
    Ok(())
}

/// Every item of an array.
pub(crate) fn list(
    d: &mut Decoder<'_>,
    mut item: impl FnMut(&mut Decoder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left = d.array()?;
    while more(d, &mut left)? {
        item(d)?;
    }
    Ok(())
}

/// Whether an item follows: `left` counts those of a definite length, and a break ends the others.
pub(crate) fn more(d: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if d.datatype()? == Type::Break => {
            d.set_position(d.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

/// A text, in one piece or in several.
pub(crate) fn text<'b>(d: &mut Decoder<'b>) -> Result<Cow<'b, str>, Error> {
    match d.datatype()? {
        Type::StringIndef => d.str_iter()?.collect::<Result<String, _>>().map(Cow::Owned),
        _ => d.str().map(Cow::Borrowed),
    }
}
