//! What a component that catches up wants from the log. Made by the router, used beside it: a component may have to look at
//! millions of records, and they must not delay anybody else.

use super::event::{Filter, Found};
use super::tree::{Target, Tree};
use crate::clock::Wall;
use crate::message::{self, RecordError, Seq, kind};
use crate::wal::{Reader, Record, WalError};
use ahash::AHashMap;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Log bytes read at once.
const CHUNK: usize = 256 << 10;
/// What one look brings at most: so many messages, so many bytes of them, found in so many bytes of the log.
pub(super) const FOUND_MAX: usize = 1_024;
const FOUND_BYTES_MAX: usize = 512 << 10;
const LOOK_BYTES_MAX: usize = 4 << 20;

/// Subscriptions, and from where on each wants messages.
#[derive(Debug, Default)]
pub struct Interest {
    tree: Tree,
    wants: AHashMap<u32, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    after: Seq,
    since: (Wall, Seq),
}

impl Interest {
    /// Wanted are records after `after`, and up to `since.1` only what was received after `since.0`.
    pub(super) fn add(&mut self, filter: &Filter, target: Target, after: Seq, since: (Wall, Seq)) {
        self.wants.insert(target.number, Wanted { after, since });
        self.tree.insert(filter, target);
    }

    /// The subscriptions that may want a record. The router decides.
    pub(super) fn find(&self, record: &Record) -> Result<Option<Found>, RecordError> {
        if record.kind != kind::MESSAGE {
            return Ok(None);
        }
        let (topic, received) = message::peek(&record.body)?;
        let fits = |number: &u32| {
            self.wants
                .get(number)
                .is_some_and(|Wanted { after, since }| record.seq > *after && (received.0 > since.0.0 || record.seq > since.1))
        };
        let mut numbers: Vec<u32> = self.tree.search(topic).into_iter().map(|target| target.number).filter(fits).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        numbers.sort_unstable();
        // A slice would keep all of what was read with it.
        let body = Bytes::copy_from_slice(&record.body);
        Ok(Some(Found { seq: record.seq, message: Arc::new(message::decode(&body)?), numbers }))
    }
}

/// A place in the log.
#[derive(Debug)]
pub(super) struct Search {
    reader: Reader,
    at: Seq,
    /// Read, and not looked at.
    rest: VecDeque<Record>,
}

impl Search {
    /// `reader` is about to read the record after `at`.
    pub(super) fn new(reader: Reader, at: Seq) -> Self {
        Self { reader, at, rest: VecDeque::new() }
    }

    /// Everything up to here was looked at.
    pub(super) fn at(&self) -> Seq {
        self.at
    }

    /// Looks on, up to record `upto` at most, which must be written. Blocks on the disk.
    pub(super) fn look(&mut self, interest: &Interest, upto: Seq) -> Result<Vec<Found>, WalError> {
        let (mut found, mut bytes, mut looked) = (Vec::new(), 0, 0);
        while self.at < upto && found.len() < FOUND_MAX && bytes < FOUND_BYTES_MAX && looked < LOOK_BYTES_MAX {
            if self.rest.is_empty() {
                self.rest = self.reader.read(CHUNK)?.into();
            }
            let Some(record) = self.rest.front() else {
                // What is missing up to there is gone: retention or damage, which the reader has told.
                self.at = upto;
                break;
            };
            if record.seq > upto {
                self.at = upto;
                break;
            }
            self.at = record.seq;
            looked += record.body.len();
            match interest.find(record) {
                Ok(None) => {}
                Ok(Some(hit)) => {
                    bytes += record.body.len();
                    found.push(hit);
                }
                Err(error) => {
                    log::error!(seq:% = record.seq, error:%; "a message in the log cannot be read; no replay brings it")
                }
            }
            self.rest.pop_front();
        }
        Ok(found)
    }
}
