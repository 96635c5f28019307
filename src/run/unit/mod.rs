//! One unit: what is asked of it, its file on the way into the lake, and what is told when nothing was read.

pub(crate) mod old;
pub(crate) mod publish;
pub(crate) mod scope;
pub(crate) mod sealed;
pub(crate) mod unread;
