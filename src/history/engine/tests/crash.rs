//! What is found at a start.

use super::*;
use std::path::PathBuf;

stories! {
    a_crash_after_the_commit_brings_no_row_twice,
    another_log_is_read_from_its_beginning,
    a_torn_file_is_set_aside_and_the_rest_is_readable,
    a_missing_file_and_one_with_a_wrong_end_are_found,
    a_file_that_nobody_knows_is_removed_and_a_stranger_s_stays,
    whatever_became_of_the_catalog_history_starts,
    the_data_folder_can_be_moved,
}

/// The files of the readings, those of its days too.
fn files(dir: &Path) -> Vec<PathBuf> {
    fn below(folder: PathBuf, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(path, all) } else { all.push(path) }
        }
    }
    let mut all = Vec::new();
    below(dir.join("lake/files/main/readings"), &mut all);
    all.sort();
    all
}

fn catalog(dir: &Path, backend: Backend) -> PathBuf {
    dir.join("lake").join(if backend == Backend::Lite { "catalog.sqlite" } else { "catalog.ducklake" })
}

/// What the log does after a restart: everything above the covered sequence comes again.
fn replay(store: &mut dyn Store, last: u64) {
    for seq in store.covered().0 + 1..=last {
        add(store, seq);
    }
}

/// Three batches of one row.
fn three(dir: &Path, backend: Backend) {
    let mut store = open(dir, backend);
    for seq in 1..=3 {
        add(store.as_mut(), seq);
        store.batch(Seq(seq)).unwrap();
    }
    store.checkpoint().unwrap();
}

async fn a_crash_after_the_commit_brings_no_row_twice(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    (1..=10).for_each(|seq| add(store.as_mut(), seq));
    store.batch(Seq(10)).unwrap();
    add(store.as_mut(), 11);
    drop(store);

    let mut store = open(dir.path(), backend);
    assert_eq!(store.covered(), Seq(10));
    replay(store.as_mut(), 11);
    assert_eq!(readings(store.as_mut()), (1..=11).collect::<Vec<_>>());
}

async fn another_log_is_read_from_its_beginning(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    add(store.as_mut(), 5);
    store.batch(Seq(5)).unwrap();
    drop(store);

    let settings = Settings { backend, ..settings(dir.path()) };
    let (mut store, _) = store::open(&settings, &schema(), SystemDisk::shared(), LOG + 1).unwrap();
    assert_eq!(store.covered(), Seq(0));
    assert_eq!(readings(store.as_mut()), [5]);
}

async fn a_torn_file_is_set_aside_and_the_rest_is_readable(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path(), backend);
    let torn = files(dir.path()).into_iter().find(|path| path.to_string_lossy().contains("-2-")).unwrap();
    std::fs::write(&torn, b"").unwrap();

    let (mut store, opened) = open_with(dir.path(), backend, &schema());
    let [damage] = opened.damage.as_slice() else { panic!("{opened:?}") };
    assert_eq!((damage.table.as_str(), damage.rows, &damage.file), ("readings", 1, &torn));
    assert!(damage.what.starts_with("has 0 bytes instead of"), "{}", damage.what);
    assert_eq!(readings(store.as_mut()), [1, 3]);
    assert_eq!(store.figures()[0].rows_in_lake, 2);
    assert!(dir.path().join("lake/quarantine").read_dir().unwrap().next().is_some());
    // And it is said once only.
    drop(store);
    open(dir.path(), backend);
}

async fn a_missing_file_and_one_with_a_wrong_end_are_found(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path(), backend);
    let all = files(dir.path());
    std::fs::remove_file(&all[0]).unwrap();
    let mut bytes = std::fs::read(&all[1]).unwrap();
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(b"\0\0\0\0");
    std::fs::write(&all[1], bytes).unwrap();

    let (mut store, opened) = open_with(dir.path(), backend, &schema());
    let mut found: Vec<_> = opened.damage.iter().map(|damage| damage.what.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["does not end like a Parquet file", "is missing"]);
    assert_eq!(readings(store.as_mut()), [3]);
}

async fn a_file_that_nobody_knows_is_removed_and_a_stranger_s_stays(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path(), backend);
    let known = files(dir.path());
    let folder = known[0].parent().unwrap();
    std::fs::copy(&known[0], folder.join("batch-00000000-9-9.parquet")).unwrap();
    std::fs::copy(&known[0], folder.join("mine.parquet")).unwrap();

    let (mut store, opened) = open_with(dir.path(), backend, &schema());
    assert_eq!((opened.orphans, opened.damage.len()), (1, 0));
    assert_eq!(readings(store.as_mut()), [1, 2, 3]);
    assert_eq!(files(dir.path()).len(), 4);
}

async fn whatever_became_of_the_catalog_history_starts(backend: Backend) {
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
        let mut store = open(dir.path(), backend);
        add(store.as_mut(), 1);
        store.batch(Seq(1)).unwrap();
        store.checkpoint().unwrap();
        drop(store);
        harm(&catalog(dir.path(), backend));

        let settings = Settings { backend, ..settings(dir.path()) };
        let (mut store, opened) =
            store::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.covered(), Seq(0), "{name}: {opened:?}");
        replay(store.as_mut(), 1);
        assert_eq!(readings(store.as_mut()), [1], "{name}");
        assert!(opened.fresh.is_some(), "{name}");
        assert_eq!(opened.orphans, 0, "{name}: what the lost catalog knew is kept");
    }
}

async fn the_data_folder_can_be_moved(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut store = open(&from, backend);
    (1..=2).for_each(|seq| add(store.as_mut(), seq));
    store.batch(Seq(2)).unwrap();
    delete(store.as_mut(), &schema().tables[0], "n = 2", 3).unwrap();
    drop(store);
    #[expect(clippy::disallowed_methods, reason = "an operator moves the folder")]
    std::fs::rename(&from, &to).unwrap();

    let mut store = open(&to, backend);
    add(store.as_mut(), 4);
    store.batch(Seq(4)).unwrap();
    assert_eq!(readings(store.as_mut()), [1, 4]);
}

#[cfg(feature = "duckdb")]
#[test]
fn a_lake_of_the_other_store_is_refused_and_stays_as_it_is() {
    let of = |dir: &Path, backend| {
        let settings = Settings { backend, ..settings(dir) };
        store::open(&settings, &schema(), SystemDisk::shared(), LOG)
    };
    for (writer, other, name) in [(Backend::Lite, Backend::Duckdb, "lite"), (Backend::Duckdb, Backend::Lite, "duckdb")] {
        let dir = tempfile::tempdir().unwrap();
        three(dir.path(), writer);
        let error = of(dir.path(), other).unwrap_err().to_string();
        assert!(error.contains(&format!("a lake of `[history] backend = \"{name}\"`")), "{error}");
        assert!(!catalog(dir.path(), other).exists() && !dir.path().join("lake/quarantine").exists());
        assert_eq!(readings(open(dir.path(), writer).as_mut()), [1, 2, 3]);
    }
}
