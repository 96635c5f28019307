//! Telling of breached budgets: what is said, to whom it was said already, and the ways to say it.

pub(crate) mod breaches;
mod html;
mod message;
mod record;
mod send;

pub use message::Message;
pub use record::Sent;
pub use send::{SendError, mail, send, try_channel};
