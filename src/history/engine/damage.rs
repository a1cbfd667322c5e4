//! What is done with files that are not what the catalog says, whichever store found them.

use super::error::EngineError;
use super::folders;
use crate::disk::Disk;
use crate::history::settings::Settings;
use std::io;
use std::path::{Path, PathBuf};

/// A file that was taken out of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) table: String,
    pub(super) file: PathBuf,
    pub(super) what: String,
    /// Rows that are gone with it; for a file of deletions, deleted rows that are back.
    pub(super) rows: u64,
    pub(super) kind: FileKind,
    /// Whether queries of today read it; others matter to looks into the past only.
    pub(super) live: bool,
    /// Which records made its rows, if the catalog tells.
    pub(super) span: Option<Span>,
    /// Whether it is where it was: it could not be read, and perhaps it can be again.
    pub(super) in_place: bool,
}

/// A file that is not what the catalog says, or that the system does not let us read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) path: PathBuf,
    pub(super) what: String,
    pub(super) in_place: bool,
}

/// So many files that cannot be read at once, and more than half of all, are the disk's trouble and not theirs.
const MANY: usize = 3;

/// Records of the log, both ends included, and when they were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Rows,
    Deletions,
}

impl FileKind {
    pub(super) fn catalog_table(self) -> &'static str {
        match self {
            Self::Rows => "ducklake_data_file",
            Self::Deletions => "ducklake_delete_file",
        }
    }

    /// Its id and its count of rows.
    pub(super) fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Rows => ("data_file_id", "record_count"),
            Self::Deletions => ("delete_file_id", "delete_count"),
        }
    }
}

/// Looks at the size and the end of a file: the reason why it is not what the catalog says, if so. An error says that the system
/// refuses more than this file: the lake stays as it is.
pub(super) fn look_at(disk: &dyn Disk, path: &Path, size_known: u64) -> Result<Option<Bad>, EngineError> {
    match look(disk, path, size_known) {
        Ok(None) => Ok(None),
        Ok(Some(what)) => Ok(Some(Bad { path: path.to_path_buf(), what, in_place: false })),
        Err(error) => refusal(path, error).map(Some).map_err(EngineError::io("checking the lake's files")),
    }
}

fn look(disk: &dyn Disk, path: &Path, size_known: u64) -> io::Result<Option<String>> {
    let file = disk.open(path)?;
    let size = file.len()?;
    if size != size_known {
        return Ok(Some(format!("has {size} bytes instead of {size_known}")));
    }
    let mut end = [0; 8];
    let read = file.read_at(&mut end, size.saturating_sub(8))?;
    let [a, b, c, d, magic @ ..] = end;
    if read != 8 || &magic != b"PAR1" {
        return Ok(Some("does not end like a Parquet file".to_owned()));
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    Ok((footer + 12 > size).then(|| "says that its footer is larger than the file".to_owned()))
}

/// What a refusal of the system means for a file: that it is gone; that this one cannot be read, which may pass, so that it stays
/// where it is; or something that has nothing to do with it, which is handed back.
pub(super) fn refusal(path: &Path, error: io::Error) -> Result<Bad, io::Error> {
    use rustix::io::Errno;
    const OF_THE_FILE: [Errno; 7] =
        [Errno::IO, Errno::ACCESS, Errno::PERM, Errno::ISDIR, Errno::LOOP, Errno::BADMSG, Errno::UCLEAN];
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(Bad { path: path.to_path_buf(), what: "is missing".to_owned(), in_place: false });
    }
    if OF_THE_FILE.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        return Ok(Bad { path: path.to_path_buf(), what: format!("cannot be read: {error}"), in_place: true });
    }
    Err(error)
}

/// Whether what was found at the files of a lake is trouble of the disk below all of them: then nothing is changed.
pub(super) fn is_of_the_disk(settings: &Settings, bad: &[Bad], all: usize) -> Result<(), EngineError> {
    let in_place = bad.iter().filter(|bad| bad.in_place).count();
    if let Some(first) = bad.iter().find(|bad| bad.in_place).filter(|_| in_place >= MANY && in_place * 2 > all) {
        return Err(EngineError::Damaged {
            path: first.path.clone(),
            what: format!("and {} more: {}", in_place - 1, first.what),
        });
    }
    let files = folders::files(settings);
    let is_empty = || std::fs::read_dir(&files).map_or(true, |mut entries| entries.next().is_none());
    if matches!(settings.data, crate::history::settings::Data::Folder(_)) && !bad.is_empty() && bad.len() == all && is_empty() {
        return Err(EngineError::NotMounted(files));
    }
    Ok(())
}

/// Whether the text of a query's error may tell of a file: a hint that is worth a look at the table's files, nothing more.
pub(super) fn may_be_of_a_file(text: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "IO Error",
        "Invalid Error",
        "Invalid Input Error",
        "Serialization Error",
        "INTERNAL Error",
        "reading a data file",
        "reading a file of deletions",
        "Parquet",
        "checksum",
    ];
    SIGNS.iter().any(|sign| text.contains(sign)) && !text.contains("Out of Range")
}

/// A name that the gateway or DuckLake gives; what somebody else put there stays.
pub(super) fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "parquet")
        && ["batch-", "merged-", "ducklake-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Moves a file to the quarantine, so that somebody can look at what is left of it.
pub(super) fn quarantine(settings: &Settings, disk: &dyn Disk, path: &Path) -> Result<(), EngineError> {
    let doing = "moving a file to the quarantine";
    if !is_there(path)? {
        return Ok(());
    }
    let quarantine = folders::quarantine(settings);
    disk.create_dir_all(&quarantine).map_err(EngineError::io(doing))?;
    let folder = path.ancestors().skip(1).find(|folder| !folders::is_day(folder));
    let table = folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    disk.rename(path, &unused(&quarantine, &format!("{table}-{name}"))).map_err(EngineError::io(doing))
}

/// Reads every byte of a catalog that seems to be broken, before it is moved. What the operating system refuses is an error that
/// says what it needs: the catalog stays where it is, and the next opening finds it whole when the cause is gone. Nobody must have
/// it open: whoever closes a file takes the process's locks on it away.
pub(super) fn confirm(settings: &Settings, disk: &dyn Disk) -> Result<(), EngineError> {
    let doing = "reading the catalog";
    let mut buffer = vec![0; 256 << 10];
    for path in CATALOGS.iter().map(|name| settings.lake.join(name)) {
        if !is_there(&path)? {
            continue;
        }
        let file = disk.open(&path).map_err(EngineError::io(doing))?;
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at).map_err(EngineError::io(doing))?;
            if read == 0 {
                break;
            }
            at += read as u64;
        }
    }
    Ok(())
}

/// Whether there is a file. That it cannot be told is an error, never a no.
pub(super) fn is_there(path: &Path) -> Result<bool, EngineError> {
    path.try_exists().map_err(EngineError::io("looking for the catalog"))
}

/// Files in which a catalog is kept, by either store.
const CATALOGS: [&str; 9] = [
    "catalog.ducklake",
    "catalog.ducklake.wal",
    "catalog.ducklake.wal.torn",
    "catalog.sqlite",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
    "catalog.ducklake.sqlite",
    "catalog.ducklake.sqlite-wal",
    "catalog.ducklake.sqlite-shm",
];

/// Moves a catalog that cannot be opened, and the files it knew, out of the way of a fresh lake.
pub(super) fn set_aside(settings: &Settings, disk: &dyn Disk) -> Result<(), EngineError> {
    let doing = "moving the broken lake to the quarantine";
    let quarantine = folders::quarantine(settings);
    disk.create_dir_all(&quarantine).map_err(EngineError::io(doing))?;
    let place = unused(&quarantine, "lake");
    disk.create_dir_all(&place).map_err(EngineError::io(doing))?;
    // The files first: beside a fresh catalog they would be orphans.
    for name in std::iter::once("files").chain(CATALOGS) {
        let from = settings.lake.join(name);
        if is_there(&from)? {
            disk.rename(&from, &place.join(name)).map_err(EngineError::io(doing))?;
        }
    }
    disk.sync_dir(&quarantine).map_err(EngineError::io(doing))
}

/// Whether there are files in the lake's folders (`<schema>/<table>/<file>`): beside a catalog that is gone they are worth keeping.
pub(super) fn has_files(files: &Path) -> bool {
    let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    below(files.to_path_buf()).flat_map(below).flat_map(below).next().is_some()
}

/// Makes a table's folder, durably.
pub(super) fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<(), EngineError> {
    if folder.is_dir() {
        return Ok(());
    }
    let doing = "creating a table's folder";
    disk.create_dir_all(folder).map_err(EngineError::io(doing))?;
    for parent in folder.ancestors().skip(1).take(4) {
        disk.sync_dir(parent).map_err(EngineError::io(doing))?;
    }
    Ok(())
}

/// `name` in `dir`, with a number if it is taken.
pub(super) fn unused(dir: &Path, name: &str) -> PathBuf {
    let numbered = (1..).map(|n| dir.join(format!("{name}.{n}")));
    std::iter::once(dir.join(name)).chain(numbered).find(|path| !path.exists()).expect("numbers do not run out")
}
