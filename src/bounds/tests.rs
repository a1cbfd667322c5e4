use super::{FOLDERS, page, scan};
use std::path::{Path, PathBuf};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_collection_that_a_peer_can_reach_is_in_the_table_of_bounds() {
    let mut mistakes = Vec::new();
    for folder in FOLDERS {
        let name = folder.name;
        let bounded = folder.bounds.iter().flat_map(|bound| bound.fields);
        let listed: Vec<_> = bounded.chain(folder.exempt.iter().flat_map(|exempt| exempt.fields)).copied().collect();
        let found = scan::collections(name);
        for field in &found {
            match listed.iter().filter(|entry| covers(entry, field)).count() {
                0 => mistakes.push(format!("src/{name}/{field}: has no bound in src/bounds/{name}.rs")),
                1 => {}
                _ => mistakes.push(format!("src/bounds/{name}.rs: {field} stands there twice")),
            }
        }
        for entry in listed.iter().filter(|entry| !found.iter().any(|field| covers(entry, field))) {
            mistakes.push(format!("src/bounds/{name}.rs: there is no {entry}"));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

fn covers(entry: &str, field: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == field, |start| field.starts_with(start))
}

#[test]
fn every_bound_names_metrics_and_tests_that_exist() {
    let (mut sources, mut metrics) = (String::new(), String::new());
    for path in files(&here().join("src")).into_iter().chain(files(&here().join("tests"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        if path.starts_with(here().join("src/metrics")) || path.ends_with("src/metrics.rs") {
            metrics.push_str(&text);
        }
        sources.push_str(&text);
    }
    for bound in FOLDERS.iter().flat_map(|folder| folder.bounds) {
        let what = bound.what;
        for metric in bound.metric.iter().flat_map(|metrics| metrics.split(", ")) {
            assert!(metrics.contains(&format!("\"{metric}\"")), "{what}: there is no metric {metric}");
        }
        for test in bound.test.iter().flat_map(|tests| tests.split(", ")) {
            assert!(sources.contains(&format!("fn {test}(")), "{what}: there is no test {test}");
        }
        for key in bound.limit.split('`').filter(|text| text.starts_with('[')) {
            let (section, name) = key.trim_start_matches('[').split_once("] ").unwrap_or_default();
            assert!(
                crate::config::KEYS.iter().any(|key| (key.section, key.name) == (section, name)),
                "{what}: there is no key {key}"
            );
        }
    }
}

#[test]
fn the_page_of_limits_is_what_the_code_says() {
    let path = here().join("docs/limits.md");
    let expected = page::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == expected, "docs/limits.md is out of date: UPDATE_DOCS=1 cargo test --lib bounds:: writes it");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
