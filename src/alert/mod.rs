//! Telling of breached budgets: what is said, to whom it was said already, and the ways to say it.

pub(crate) mod breaches;
pub(crate) mod ending;
mod message;
pub(crate) mod notices;
mod page;
mod record;
mod send;

pub use message::{Kind, Message};
pub use record::Sent;
pub use send::{SendError, mail, send, try_channel};
