//! What the integration tests share.

pub mod golden;
pub mod pictures;
pub mod program;
