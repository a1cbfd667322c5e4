//! Memory of answers that are made and not yet sent: who reads slowly keeps others from nothing.
//!
//! An answer counts until its last byte is with the socket. Small ones have memory of their own, so that they pass whatever the
//! large ones do. A large one that finds none is refused soon, and not waited for: its query keeps its turn until then, and with
//! that others from theirs.

use crate::history::model::{CallError, Caller};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For large answers, in KiB; one alone may be larger.
pub(super) const LARGE_KIB: u32 = 88 << 10;
/// For small ones.
pub(super) const SMALL_KIB: u32 = 8 << 10;
/// Up to here an answer is small.
const SMALL_MAX_KIB: u32 = 256;
/// Of large answers to one caller: after this much it must read first.
const CALLER_KIB: u32 = LARGE_KIB / 2;
/// An answer that is read at once makes room within this time.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub(super) struct AnswerMemory {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    /// KiB of large answers by caller.
    callers: Arc<Mutex<BTreeMap<Caller, u32>>>,
}

/// The memory of one answer; given back with this.
#[derive(Debug)]
pub(super) struct AnswerPermit {
    _room: OwnedSemaphorePermit,
    /// Of a large one.
    _share: Option<Share>,
}

#[derive(Debug)]
struct Share {
    callers: Arc<Mutex<BTreeMap<Caller, u32>>>,
    caller: Caller,
    kib: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut callers = lock(&self.callers);
        if let Some(held) = callers.get_mut(&self.caller) {
            *held -= self.kib;
            if *held == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

impl Default for AnswerMemory {
    fn default() -> Self {
        let semaphore = |kib| Arc::new(Semaphore::new(kib as usize));
        Self { large: semaphore(LARGE_KIB), small: semaphore(SMALL_KIB), callers: Arc::default() }
    }
}

impl AnswerMemory {
    /// Room for an answer to this caller.
    ///
    /// # Errors
    /// When the caller has not read enough of earlier answers, or all together have not.
    pub(super) async fn take(&self, caller: Caller, bytes: usize) -> Result<AnswerPermit, CallError> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let (memory, kib, share) = if kib <= SMALL_MAX_KIB {
            (&self.small, kib, None)
        } else {
            let kib = kib.min(LARGE_KIB);
            (&self.large, kib, Some(self.share(caller, kib)?))
        };
        match tokio::time::timeout(PATIENCE, memory.clone().acquire_many_owned(kib)).await {
            Ok(Ok(room)) => Ok(AnswerPermit { _room: room, _share: share }),
            _ => Err(CallError::exception(
                "the memory for query results is in use by answers that others have not read yet; try again",
            )),
        }
    }

    fn share(&self, caller: Caller, kib: u32) -> Result<Share, CallError> {
        let mut callers = lock(&self.callers);
        let held = callers.entry(caller).or_default();
        // One alone may be as large as it likes.
        if *held > 0 && held.saturating_add(kib) > CALLER_KIB {
            return Err(CallError::exception(
                "read the answers to earlier queries first: they take the memory for query results",
            ));
        }
        *held += kib;
        Ok(Share { callers: self.callers.clone(), caller, kib })
    }
}

fn lock(callers: &Mutex<BTreeMap<Caller, u32>>) -> MutexGuard<'_, BTreeMap<Caller, u32>> {
    // Nothing that holds it can panic half way.
    callers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Caller = Caller(1);
    const B: Caller = Caller(2);
    const C: Caller = Caller(3);
    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn small_answers_pass_whatever_slow_readers_hold() {
        let memory = AnswerMemory::default();
        let held = [memory.take(A, 44 * MIB).await.unwrap(), memory.take(B, 44 * MIB).await.unwrap()];
        for _ in 0..1000 {
            memory.take(C, 200 << 10).await.unwrap();
        }
        let began = tokio::time::Instant::now();
        let error = memory.take(C, 2 * MIB).await.unwrap_err();
        assert!(error.text.contains("have not read yet"), "{}", error.text);
        assert!(began.elapsed() <= PATIENCE + Duration::from_millis(10), "its turn is kept for {:?}", began.elapsed());
        drop(held);
        memory.take(C, 200 * MIB).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_has_half_of_it_before_it_must_read() {
        let memory = AnswerMemory::default();
        let first = memory.take(A, 30 * MIB).await.unwrap();
        let error = memory.take(A, 20 * MIB).await.unwrap_err();
        assert!(error.text.contains("read the answers"), "{}", error.text);
        memory.take(B, 40 * MIB).await.unwrap();
        drop(first);
        memory.take(A, 20 * MIB).await.unwrap();
        assert!(lock(&memory.callers).is_empty());
    }
}
