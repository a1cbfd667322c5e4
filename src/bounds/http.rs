//! Limits of `src/http`.

use super::{Bound, Exempt};

pub(super) const BOUNDS: &[Bound] = &[];

pub(super) const EXEMPT: &[Exempt] = &[];
