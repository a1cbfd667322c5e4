//! A simple list is the truth; random appends, commits, crashes and power cuts are played against it.

use super::disk::MemDisk;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: u64,
        ack_waits: bool,
    },
    /// One record larger than a segment.
    AppendHuge,
    Sync,
    Flush,
    /// Lets simulated time pass.
    Wait {
        ms: u64,
    },
    Release,
    /// The process ends in good order and starts again.
    Restart,
    /// The process dies; the machine lives on.
    Kill,
    /// Nothing that was not synced is sure to survive.
    CutPower {
        seed: u64,
    },
    /// The same, in the middle of what the disk is told to do from now on.
    CutPowerSoon {
        operations: u32,
        seed: u64,
    },
    FailSync,
    FailSyncDir,
    FailWrite,
    /// The disk has room for so many KiB.
    Capacity {
        kib: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u64..40, any::<bool>()).prop_map(|(records, ack_waits)| Step::Append { records, ack_waits }),
        1 => Just(Step::AppendHuge),
        4 => Just(Step::Sync),
        3 => Just(Step::Flush),
        3 => (1u64..2000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Release),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
        2 => any::<u64>().prop_map(|seed| Step::CutPower { seed }),
        3 => (1u32..12, any::<u64>()).prop_map(|(operations, seed)| Step::CutPowerSoon { operations, seed }),
        1 => Just(Step::FailSync),
        1 => Just(Step::FailSyncDir),
        1 => Just(Step::FailWrite),
        1 => (40u64..200).prop_map(|kib| Step::Capacity { kib }),
        1 => Just(Step::Capacity { kib: 1 << 40 }),
    ]
}

struct Model {
    disk: MemDisk,
    log: LogHandle,
    hold: Hold,
    running: tokio::task::JoinHandle<Result<(), WalError>>,
    /// What was appended, by number.
    truth: BTreeMap<u64, Vec<u8>>,
    next: u64,
    /// Everything up to here was once told to be durable, save what was `lost` before it was.
    acknowledged: u64,
    released: u64,
    /// Grows with each start; part of the bodies.
    life: u64,
    cut_soon: Option<u64>,
}

impl Model {
    fn options() -> Options {
        Options { keep_bytes: 64 << 10, ..options() }
    }

    fn new() -> Self {
        let disk = MemDisk::new();
        let (log, handle, _) = open(disk.shared(), SystemClock::shared(), Self::options()).unwrap();
        let running = tokio::spawn(log.run());
        let truth = BTreeMap::new();
        let hold = handle.hold(Seq(0));
        Self { disk, log: handle, hold, running, truth, next: 1, acknowledged: 0, released: 0, life: 0, cut_soon: None }
    }

    /// Lets the log do what it wants to do now. True if it still runs.
    async fn settle(&mut self) -> bool {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let durable = self.log.state().borrow().durable.0;
        assert!(durable >= self.acknowledged, "durable went back");
        self.acknowledged = durable;
        !self.running.is_finished()
    }

    async fn append(&mut self, records: u64, ack_waits: bool, huge: bool) {
        let mut batch = Batch::default();
        for seq in self.next..self.next + records {
            let mut bytes = body(seq, self.life);
            if huge {
                bytes.resize(20 << 10, 7);
            }
            batch.push(Seq(seq), 1, ack_waits, |out| out.extend_from_slice(&bytes));
            self.truth.insert(seq, bytes);
        }
        if self.log.append(batch).await.is_ok() {
            self.next += records;
        }
    }

    /// Starts again, and compares what is there with the truth.
    async fn reopen(&mut self, cut: Option<u64>) {
        self.running.abort();
        tokio::task::yield_now().await;
        if let Some(seed) = cut.or(self.cut_soon.take()) {
            self.disk.cut_power(seed);
        }
        self.disk.state().fail_syncs = 0;
        self.disk.state().fail_writes = 0;
        self.disk.state().fail_dir_syncs = 0;
        let (log, handle, recovery) = open(self.disk.shared(), SystemClock::shared(), Self::options()).unwrap();
        self.running = tokio::spawn(log.run());
        self.hold = handle.hold(Seq(self.released));
        self.log = handle;
        self.life += 1;

        let records = read_all(&mut self.log.reader(Seq(1)));
        let mut before = 0;
        for record in &records {
            assert!(record.seq.0 > before, "numbers rise");
            before = record.seq.0;
            assert_eq!(Some(&record.body[..]), self.truth.get(&record.seq.0).map(|body| &body[..]), "record {before}");
        }
        let found: std::collections::BTreeSet<u64> = records.iter().map(|record| record.seq.0).collect();
        for seq in 1..=self.acknowledged {
            let is_known = self.truth.contains_key(&seq);
            assert!(
                found.contains(&seq) || !is_known || seq <= self.released,
                "acknowledged record {seq} is gone: {recovery:?}"
            );
        }
        for damage in &recovery.damaged {
            // A full disk without a reserve has no room for the file either, which then stays as it was.
            let fine = matches!(damage, Damage::Records { acknowledged: false, .. } | Damage::Identity { .. });
            assert!(fine, "{damage:?}");
        }
        assert!(recovery.last.0 >= self.acknowledged && recovery.last.0 >= before);
        self.truth.retain(|seq, _| found.contains(seq));
        self.next = recovery.last.0 + 1;
        self.acknowledged = recovery.last.0;
    }

    async fn play(&mut self, step: Step) {
        match step {
            Step::Append { records, ack_waits } => self.append(records, ack_waits, false).await,
            Step::AppendHuge => self.append(1, true, true).await,
            // A full disk may keep it waiting for ever.
            Step::Sync => {
                tokio::time::timeout(Duration::from_secs(3), self.log.sync(Seq(self.next - 1))).await.ok();
            }
            Step::Flush => {
                tokio::time::timeout(Duration::from_secs(3), self.log.flush(Seq(self.next - 1))).await.ok();
            }
            Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Release => {
                self.released = self.acknowledged;
                self.hold.release(Seq(self.released));
            }
            Step::Restart => {
                self.log.close().await;
                self.settle().await;
                self.reopen(None).await;
            }
            Step::Kill => self.reopen(None).await,
            Step::CutPower { seed } => self.reopen(Some(seed)).await,
            Step::CutPowerSoon { operations, seed } => {
                self.disk.state().operations_left = Some(operations);
                self.cut_soon = Some(seed);
            }
            Step::FailSync => self.disk.state().fail_syncs = 1,
            Step::FailSyncDir => self.disk.state().fail_dir_syncs = 1,
            Step::FailWrite => self.disk.state().fail_writes = 1,
            Step::Capacity { kib } => self.disk.state().capacity = kib << 10,
        }
        if !self.settle().await {
            self.reopen(None).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_acknowledged_is_ever_lost(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for step in steps {
                model.play(step).await;
            }
            model.reopen(Some(1)).await;
        });
    }
}
