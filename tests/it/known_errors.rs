//! One story for each bug ever fixed, so that it stays fixed: what went wrong, in which version, and what happens now.
//!
//! Add one whenever a bug is found that the other stories let pass; name it after what a user would have seen.
