//! Every token that belongs to no connection and to no dial.

use crate::ring::{Kind, Token};

pub(super) const WAKE: Token = Token::new(Kind::Wake, 0, 0);
/// The cancel of an accept.
pub(super) const CANCEL_ACCEPT: Token = Token::new(Kind::Cancel, 0, u32::MAX);
/// The cancel of a connect.
pub(super) const CANCEL_CONNECT: Token = Token::new(Kind::Cancel, 1, u32::MAX);
