//! What holds for the tree as a whole: papers that are cited exist.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Endings of files in which papers are cited.
const TEXTS: [&str; 7] = ["rs", "py", "md", "toml", "service", "yml", "bb"];

/// Every text file below a folder of the project.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|ending| TEXTS.iter().any(|text| ending == *text)) {
            found.push(path);
        }
    }
}

/// Words that end in `.md`, without the section behind a `#` and without what stands around them.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "`()[]<>\"',;:*|".contains(c))
        .map(|word| word.split('#').next().unwrap_or(word).trim_end_matches('.'))
        .filter(|word| word.ends_with(".md") && (!word.starts_with('.') || word.starts_with("../")))
}

/// A paper is cited from the root, from `docs/`, or from the folder of the file that cites it.
fn exists(citing: &Path, name: &str) -> bool {
    let root = Path::new(ROOT);
    let beside = citing.parent().unwrap_or(root);
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/protocol"), beside.to_owned()];
    // Installed documents lie where the package puts the README.
    let name = name.trim_start_matches('/');
    name.starts_with("usr/share/doc/") || folders.iter().any(|folder| folder.join(name).exists())
}

#[test]
fn every_paper_that_the_tree_cites_exists() {
    let mut files = vec![Path::new(ROOT).join("README.md"), Path::new(ROOT).join("Cargo.toml")];
    for folder in ["src", "tests", "docs", "benches", "fuzz/fuzz_targets", "yocto", "systemd"] {
        texts(&Path::new(ROOT).join(folder), &mut files);
    }
    let (mut citations, mut missing) = (0, Vec::new());
    for file in files {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            for name in cited(line) {
                citations += 1;
                if !exists(&file, name) {
                    missing.push(format!("{}:{}: {name}", file.strip_prefix(ROOT).unwrap().display(), number + 1));
                }
            }
        }
    }
    assert!(citations >= 80, "only {citations} citations were found: does the search still work?");
    assert!(missing.is_empty(), "these papers do not exist:\n{}", missing.join("\n"));
}
