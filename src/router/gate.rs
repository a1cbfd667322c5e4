//! Holds acknowledgements back until the log is durable far enough. This is the product's promise in a dozen lines.

use crate::message::Seq;
use std::collections::VecDeque;

/// Answers that wait for the disk, in log order.
#[derive(Debug)]
pub(super) struct AckGate<T> {
    waiting: VecDeque<(Seq, T)>,
}

impl<T> Default for AckGate<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> AckGate<T> {
    /// Keeps `answer` until everything up to `after` is durable.
    pub(super) fn hold(&mut self, after: Seq, answer: T) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last <= after), "records are appended in order");
        self.waiting.push_back((after, answer));
    }

    /// The answers that may go out, oldest first.
    pub(super) fn release(&mut self, durable: Seq) -> impl Iterator<Item = T> + '_ {
        let ready = self.waiting.partition_point(|(after, _)| *after <= durable);
        self.waiting.drain(..ready).map(|(_, answer)| answer)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_waits_for_the_disk() {
        let mut gate = AckGate::default();
        gate.hold(Seq(7), "first");
        gate.hold(Seq(8), "second");

        assert_eq!(gate.release(Seq(6)).count(), 0);
        assert_eq!(gate.release(Seq(7)).collect::<Vec<_>>(), ["first"]);
        assert_eq!(gate.len(), 1);
    }
}
