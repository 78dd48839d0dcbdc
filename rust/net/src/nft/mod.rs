//! nf_tables by netlink: what is in our tables, and how elements get in and out.

pub(crate) mod definition;
pub(crate) mod element;
pub(crate) mod expression;
pub(crate) mod listing;
pub(crate) mod policy;
pub(crate) mod ruleset;
pub(crate) mod table;
pub(crate) mod transaction;
