//! A batch abandoned at every stage, and damage found at the start.

use super::*;

/// What the log does after a restart: everything above the covered sequence comes again.
fn replay(store: &mut Lake, last: u64) {
    for seq in store.covered().0 + 1..=last {
        add(store, seq);
    }
}

#[test]
fn a_crash_after_the_copy_costs_nothing_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (1..=10).for_each(|seq| add(&mut store, seq));
    store.prepare(Seq(10)).unwrap();
    assert_eq!(files(dir.path(), "readings").len(), 1);
    drop(store);

    let (mut store, opened) = open_with(dir.path(), &schema());
    assert_eq!((opened.orphans, store.covered()), (1, Seq(0)));
    assert_eq!(files(dir.path(), "readings").len(), 0);
    replay(&mut store, 10);
    assert_eq!(readings(&mut store), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_crash_after_the_commit_brings_no_row_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (1..=10).for_each(|seq| add(&mut store, seq));
    store.batch(Seq(10)).unwrap();
    add(&mut store, 11);
    drop(store);

    let mut store = open(dir.path());
    assert_eq!(store.covered(), Seq(10));
    replay(&mut store, 11);
    assert_eq!(readings(&mut store), (1..=11).collect::<Vec<_>>());
}

#[test]
fn a_failed_attempt_is_tried_again_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    let first = store.prepare(Seq(1)).unwrap();
    let second = store.prepare(Seq(1)).unwrap();
    assert_ne!(format!("{first:?}"), format!("{second:?}"));
    store.commit(&second, Seq(1)).unwrap();
    assert_eq!(readings(&mut store), [1]);
}

#[test]
fn another_log_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 5);
    store.batch(Seq(5)).unwrap();
    drop(store);

    let (mut store, _) = Lake::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG + 1).unwrap();
    assert_eq!(store.covered(), Seq(0));
    assert_eq!(readings(&mut store), [5]);
}

#[test]
fn a_torn_file_is_set_aside_and_the_rest_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for seq in 1..=3 {
        add(&mut store, seq);
        store.batch(Seq(seq)).unwrap();
    }
    drop(store);
    let torn = files(dir.path(), "readings").into_iter().find(|path| path.to_string_lossy().contains("-2-")).unwrap();
    std::fs::write(&torn, b"").unwrap();

    let (mut store, opened) = open_with(dir.path(), &schema());
    let [damage] = opened.damage.as_slice() else { panic!("{opened:?}") };
    assert_eq!((damage.table.as_str(), damage.rows, &damage.file), ("readings", 1, &torn));
    assert!(damage.what.starts_with("has 0 bytes instead of"), "{}", damage.what);
    assert_eq!(readings(&mut store), [1, 3]);
    assert_eq!(store.usable()[0].rows_in_lake, 2);
    assert!(dir.path().join("lake/quarantine").read_dir().unwrap().next().is_some());
    // And it is said once only.
    drop(store);
    open(dir.path());
}

#[test]
fn a_missing_file_and_one_with_a_wrong_end_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for seq in 1..=3 {
        add(&mut store, seq);
        store.batch(Seq(seq)).unwrap();
    }
    drop(store);
    let all = files(dir.path(), "readings");
    std::fs::remove_file(&all[0]).unwrap();
    let mut bytes = std::fs::read(&all[1]).unwrap();
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(b"\0\0\0\0");
    std::fs::write(&all[1], bytes).unwrap();

    let (mut store, opened) = open_with(dir.path(), &schema());
    let mut found: Vec<_> = opened.damage.iter().map(|damage| damage.what.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["does not end like a Parquet file", "is missing"]);
    assert_eq!(readings(&mut store), [3]);
}

#[test]
fn a_broken_catalog_is_set_aside_with_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    store.batch(Seq(1)).unwrap();
    drop(store);
    std::fs::write(dir.path().join("lake/catalog.ducklake"), vec![7; 20_000]).unwrap();

    let (mut store, opened) = open_with(dir.path(), &schema());
    assert!(opened.fresh.is_some());
    assert_eq!(store.covered(), Seq(0));
    replay(&mut store, 2);
    assert_eq!(readings(&mut store), [1, 2]);
    let kept = dir.path().join("lake/quarantine/lake/files/main/readings");
    assert_eq!(kept.read_dir().unwrap().count(), 1);
}

#[test]
fn whatever_became_of_the_catalog_history_starts() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("empty", |catalog| std::fs::write(catalog, b"").unwrap()),
        ("cut", |catalog| std::fs::OpenOptions::new().write(true).open(catalog).unwrap().set_len(5000).unwrap()),
        ("half", |catalog| {
            let file = std::fs::OpenOptions::new().write(true).open(catalog).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("header", |catalog| {
            let mut bytes = std::fs::read(catalog).unwrap();
            bytes[..12_288].fill(0x55);
            std::fs::write(catalog, bytes).unwrap();
        }),
        ("blocks", |catalog| {
            let mut bytes = std::fs::read(catalog).unwrap();
            bytes[12_288..].iter_mut().step_by(997).for_each(|byte| *byte ^= 0x40);
            std::fs::write(catalog, bytes).unwrap();
        }),
        ("gone", |catalog| std::fs::remove_file(catalog).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        add(&mut store, 1);
        store.batch(Seq(1)).unwrap();
        store.checkpoint().unwrap();
        drop(store);
        harm(&dir.path().join("lake/catalog.ducklake"));

        let (mut store, opened) = Lake::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.covered(), Seq(0), "{name}: {opened:?}");
        replay(&mut store, 1);
        assert_eq!(readings(&mut store), [1], "{name}");
        assert!(opened.fresh.is_some(), "{name}");
        assert_eq!(opened.orphans, 0, "{name}: what the lost catalog knew is kept");
    }
}

#[test]
fn the_data_folder_can_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut store = open(&from);
    add(&mut store, 1);
    store.batch(Seq(1)).unwrap();
    drop(store);
    #[expect(clippy::disallowed_methods, reason = "an operator moves the folder")]
    std::fs::rename(&from, &to).unwrap();

    let mut store = open(&to);
    add(&mut store, 2);
    store.batch(Seq(2)).unwrap();
    assert_eq!(readings(&mut store), [1, 2]);
}

/// A page of the last commit never reached the disk.
#[test]
fn an_end_of_the_catalogs_log_that_is_half_there_costs_its_last_commit_alone() {
    half_an_end(|log, before| log[before + 100..before + 164].fill(0));
}

/// Nothing of it but the new length of the file did: zeros are an entry without bytes, whose checksum is wrong.
#[test]
fn so_does_an_end_of_nothing_but_zeros() {
    half_an_end(|log, before| log[before..].fill(0));
}

fn half_an_end(harm: fn(&mut [u8], usize)) {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = open(dir.path());
    let log = dir.path().join("lake/catalog.ducklake.wal");
    let mut before = 0;
    for seq in 1..=3 {
        before = std::fs::metadata(&log).map_or(0, |log| log.len());
        add(&mut store, seq);
        store.batch(Seq(seq)).unwrap();
    }
    // As the disk has it at this moment: nothing is checkpointed.
    let copied = std::process::Command::new("cp").arg("-r").arg(dir.path().join("lake")).arg(other.path()).status().unwrap();
    assert!(copied.success());
    let log = other.path().join("lake/catalog.ducklake.wal");
    let mut bytes = std::fs::read(&log).unwrap();
    assert!(before > 0 && bytes.len() as u64 > before + 200, "each batch is in it");
    harm(&mut bytes, usize::try_from(before).unwrap());
    std::fs::write(&log, bytes).unwrap();

    let (mut store, opened) = open_with(other.path(), &schema());
    assert!(opened.fresh.is_none() && opened.damage.is_empty(), "{opened:?}");
    assert_eq!((store.covered(), readings(&mut store)), (Seq(2), vec![1, 2]));
    replay(&mut store, 3);
    store.batch(Seq(3)).unwrap();
    drop(store);
    assert_eq!(readings(&mut open(other.path())), [1, 2, 3]);
}

#[test]
fn a_missing_extension_is_an_error_that_names_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.library_dirs = vec![dir.path().to_path_buf()];
    let error = Lake::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap_err();
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}
