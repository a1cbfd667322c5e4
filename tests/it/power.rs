//! A disk that forgets: whatever was not synced is gone, or half there, when the power goes.
//!
//! `kill -9` leaves the page cache, which is exactly what a power cut takes. So the real gateway runs with `forgetful.c` preloaded,
//! which keeps a second copy of everything that was synced, and is cut off at a random sync of lake or log. Then the data folder
//! is made anew out of what a disk could have: of each file its last synced content, the newest, or some pages of both; of each
//! folder the names of its last sync, and by chance those that came or went since. On that the next life must open, with every
//! acknowledged row once.

use crate::durability::{Account, publish_by_mqtt};
use crate::gateway::{Gateway, Plan};
use crate::rembus_peer::RembusPeer;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

const PAGE: usize = 4096;

/// Small and repeatable.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// How `forgetful.c` names files and folders.
fn key(path: &Path) -> String {
    let metadata = fs::symlink_metadata(path).unwrap();
    let born = metadata.created().unwrap().duration_since(UNIX_EPOCH).unwrap();
    format!("{}-{}-{}", metadata.ino(), born.as_secs(), born.subsec_nanos())
}

/// Names of a folder: key and whether it is a folder.
type Names = BTreeMap<String, (String, bool)>;

fn names(dir: &Path) -> Names {
    let Ok(entries) = fs::read_dir(dir) else { return Names::new() };
    let entries = entries.map(Result::unwrap).filter(|entry| {
        let kind = entry.file_type().unwrap();
        kind.is_file() || kind.is_dir()
    });
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, (key(&entry.path()), entry.file_type().unwrap().is_dir()))
        })
        .collect()
}

/// What the disk has for sure.
#[derive(Debug)]
struct Mirror(tempfile::TempDir);

impl Mirror {
    /// Everything below `data` is on the disk.
    fn of(data: &Path) -> Self {
        let mirror = Self(tempfile::tempdir().unwrap());
        for kind in ["c", "d"] {
            fs::create_dir(mirror.0.path().join(kind)).unwrap();
        }
        mirror.take(data);
        mirror
    }

    fn take(&self, dir: &Path) {
        let mut lines = String::new();
        for (name, (key, is_dir)) in names(dir) {
            lines += &format!("{key} {} {name}\n", if is_dir { 'd' } else { 'f' });
            let path = dir.join(&name);
            if is_dir {
                self.take(&path);
            } else {
                // Holes stay holes: log segments are mostly that.
                let to = self.0.path().join("c").join(key);
                assert!(Command::new("cp").arg("--sparse=always").arg(&path).arg(to).status().unwrap().success());
            }
        }
        fs::write(self.0.path().join("d").join(key(dir)), lines).unwrap();
    }

    fn content(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.0.path().join("c").join(key)).ok()
    }

    fn names(&self, key: &str) -> Names {
        let lines = fs::read_to_string(self.0.path().join("d").join(key)).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (key, kind, name) = (words.next()?, words.next()?, words.next()?);
            Some((name.to_owned(), (key.to_owned(), kind == "d")))
        };
        lines.lines().filter_map(line).collect()
    }
}

/// Makes a disk out of what was synced and what was not.
struct Cut<'a> {
    mirror: &'a Mirror,
    chance: &'a mut Chance,
    /// Whether anything that was not synced may be there nevertheless.
    lucky: bool,
    /// Where each file and folder is at present.
    present: BTreeMap<String, PathBuf>,
}

impl Cut<'_> {
    fn find(&mut self, dir: &Path) {
        for (name, (key, is_dir)) in names(dir) {
            let path = dir.join(name);
            if is_dir {
                self.find(&path);
            }
            self.present.insert(key, path);
        }
    }

    /// Writes the folder `key` to `to`, as the disk has it.
    fn folder(&mut self, key: &str, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let mut all = self.mirror.names(key);
        if self.lucky {
            let now = self.present.get(key).map(|path| names(path)).unwrap_or_default();
            let changed: BTreeSet<String> =
                all.keys().chain(now.keys()).filter(|name| all.get(*name) != now.get(*name)).cloned().collect();
            for name in changed {
                if self.chance.coin() {
                    match now.get(&name) {
                        Some(entry) => all.insert(name, entry.clone()),
                        None => all.remove(&name),
                    };
                }
            }
        }
        for (name, (key, is_dir)) in all {
            let path = to.join(name);
            if is_dir {
                self.folder(&key, &path);
            } else {
                let content = self.file(&key);
                write_sparse(&path, &content);
            }
        }
    }

    fn file(&mut self, key: &str) -> Vec<u8> {
        let synced = self.mirror.content(key).unwrap_or_default();
        let Some(now) = self.present.get(key).filter(|_| self.lucky).map(|path| fs::read(path).unwrap()) else { return synced };
        if now == synced {
            return synced;
        }
        match self.chance.below(3) {
            0 => synced,
            1 => now,
            _ => {
                let length = if self.chance.coin() { now.len() } else { synced.len() };
                let mut mixed = vec![0; length];
                for (page, place) in mixed.chunks_mut(PAGE).enumerate() {
                    let from = if self.chance.coin() { &now } else { &synced };
                    let begin = (page * PAGE).min(from.len());
                    let end = (begin + place.len()).min(from.len());
                    place[..end - begin].copy_from_slice(&from[begin..end]);
                }
                mixed
            }
        }
    }
}

fn write_sparse(path: &Path, content: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (page, bytes) in content.chunks(PAGE).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)) {
        file.write_all_at(bytes, (page * PAGE) as u64).unwrap();
    }
}

/// The data folder after the cut.
fn cut(data: &Path, mirror: &Mirror, chance: &mut Chance) {
    let lucky = chance.below(4) > 0;
    let root = key(data);
    let disk = tempfile::tempdir().unwrap();
    let mut cut = Cut { mirror, chance, lucky, present: BTreeMap::from([(root.clone(), data.to_path_buf())]) };
    cut.find(data);
    cut.folder(&root, disk.path());
    for (name, (_, is_dir)) in names(data) {
        let path = data.join(name);
        if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    for name in names(disk.path()).keys() {
        let moved = Command::new("cp").arg("-r").arg("--sparse=always").arg(disk.path().join(name)).arg(data).status().unwrap();
        assert!(moved.success());
    }
}

fn build_shim(dir: &Path) -> PathBuf {
    let library = dir.join("forgetful.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/power/forgetful.c");
    let built = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(built.success(), "cc builds forgetful.c");
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_power_goes_in_batches_and_merges() {
    cuts("duckdb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_with_the_lite_store() {
    cuts("lite").await;
}

async fn cuts(backend: &str) {
    let rounds: u64 = std::env::var("CUTS").map_or(6, |cuts| cuts.parse().expect("CUTS is a number"));
    let seed: u64 = std::env::var("CUT_SEED").map_or(1, |seed| seed.parse().expect("CUT_SEED is a number"));
    let mut chance = Chance(seed);
    let shim = tempfile::tempdir().unwrap();
    let library = build_shim(shim.path());
    let plan = Plan::default()
        .set("history.backend", backend)
        .set("history.batch_interval", "100ms")
        .set("history.batch_rows", "300")
        .set("history.maintenance", "1s")
        .set("history.snapshots", "1h");
    let mut gateway = plan.start();
    gateway.kill();
    let (mut sent, mut acknowledged) = (0, BTreeSet::new());
    let (mut merged, mut quarantined) = (0, 0);
    for round in 0..rounds {
        let mirror = Mirror::of(gateway.data());
        let place = if chance.below(5) == 0 { "wal" } else { "lake" };
        // A batch takes some five syncs, a merge some more; half of the lives are long enough for merges.
        let limit = if chance.coin() { 20 } else { 150 };
        let at = 1 + chance.below(limit);
        let mut environment = vec![
            ("LD_PRELOAD", library.to_string_lossy().into_owned()),
            ("FORGETFUL_ROOT", gateway.data().to_string_lossy().into_owned()),
            ("FORGETFUL_MIRROR", mirror.0.path().to_string_lossy().into_owned()),
            ("FORGETFUL_WHERE", place.to_owned()),
            ("FORGETFUL_CUT", at.to_string()),
        ];
        environment.extend(chance.coin().then(|| ("FORGETFUL_BEFORE", "1".to_owned())));
        let account = live_until_the_cut(&mut gateway, environment, sent).await;
        sent = account.sent;
        acknowledged.extend(account.acknowledged);
        merged += usize::from(gateway.log().contains("files were merged"));
        if round % 20 == 19 {
            eprintln!("{backend}: {} cuts, {} rows acknowledged, none lost, none twice", round + 1, acknowledged.len());
        }
        cut(gateway.data(), &mirror, &mut chance);

        gateway.start_again();
        let mut client = RembusPeer::connect(gateway.doors.rembus).await;
        let found = client.query_integers("counted", "n", "source='mqtt'").await;
        let stored: BTreeSet<i64> = found.iter().copied().collect();
        let story = format!("round {round} of seed {seed}, cut at sync {at} of {place}");
        let lost: Vec<_> = acknowledged.difference(&stored).take(10).collect();
        assert!(lost.is_empty(), "{story}: lost {lost:?}… of {}", acknowledged.len());
        assert_eq!(found.len(), stored.len(), "{story}: rows are there twice");
        assert!(stored.iter().all(|n| *n < sent), "{story}: rows that were never sent");
        let quarantine = gateway.data().join("lake/quarantine");
        let set_aside = names(&quarantine);
        if set_aside.len() > quarantined {
            let log = gateway.log();
            let why: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
            eprintln!("{story}: in quarantine are {:?}\n{}", set_aside.keys(), why.join("\n"));
            quarantined = set_aside.len();
            if let Some(keep) = std::env::var_os("CUT_KEEP") {
                assert!(Command::new("cp").arg("-r").arg(gateway.data().join("lake")).arg(keep).status().unwrap().success());
            }
        }
        assert!(gateway.log().contains("the lake is open"), "{story}");
        gateway.kill();
    }
    eprintln!(
        "{backend}: {rounds} cuts, {} rows acknowledged, merges in {merged} lives, {quarantined} files in quarantine",
        acknowledged.len()
    );
    assert_eq!(quarantined, 0, "every file that the catalog names is whole");
    assert!(rounds < 20 || merged > 0, "no merge was hit, the story proves little");
}

/// Publishes until the power goes.
async fn live_until_the_cut(gateway: &mut Gateway, environment: Vec<(&'static str, String)>, sent: i64) -> Account {
    let progress = Arc::new(AtomicUsize::new(0));
    let Some(()) = tokio::task::block_in_place(|| gateway.start_again_with(environment)) else {
        return Account { sent, acknowledged: BTreeSet::new() };
    };
    let mqtt = tokio::spawn(publish_by_mqtt(gateway.doors.mqtt, sent, progress.clone()));
    let account = mqtt.await.unwrap();
    tokio::task::block_in_place(|| gateway.wait());
    assert!(progress.load(Relaxed) <= account.acknowledged.len());
    account
}
