//! Finds the collections in the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use syn::{Fields, GenericArgument, Item, PathArguments, Type};

/// Types that hold as many things as are put into them.
const COLLECTIONS: &[&str] = &[
    "AHashMap",
    "AHashSet",
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "BytesMut",
    "FuturesOrdered",
    "FuturesUnordered",
    "HashMap",
    "HashSet",
    "IndexMap",
    "JoinSet",
    "LinkedList",
    "Receiver",
    "Sender",
    "Slab",
    "UnboundedReceiver",
    "UnboundedSender",
    "Vec",
    "VecDeque",
];
/// Modules whose channels hold one value.
const SINGLE: &[&str] = &["oneshot", "watch"];

/// Every field of a collection type below `src/FOLDER`, as `file.rs::Type.field`; code of tests is left out.
pub(super) fn collections(folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut found = BTreeSet::new();
    let (mut files, mut of_tests) = (Vec::new(), BTreeSet::new());
    gather(&root, &mut files);
    let parsed: Vec<_> = files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, file)
        })
        .collect();
    for (path, file) in &parsed {
        for module in file.items.iter().filter_map(only_for_tests) {
            let folder = if path.file_name().is_some_and(|name| name == "mod.rs") {
                path.parent().unwrap().to_owned()
            } else {
                path.with_extension("")
            };
            of_tests.insert(folder.join(&module));
        }
    }
    for (path, file) in &parsed {
        if of_tests.iter().any(|module| path.with_extension("") == *module || path.starts_with(module)) {
            continue;
        }
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        file.items.iter().for_each(|item| collect(&name, item, &mut found));
    }
    found
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The name of a module of its own file that only tests have.
fn only_for_tests(item: &Item) -> Option<String> {
    match item {
        Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => Some(module.ident.to_string()),
        _ => None,
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && ["test", "any(test,feature=\"fuzzing\")", "feature=\"fuzzing\""].contains(&&*condition)
    })
}

fn collect(file: &str, item: &Item, found: &mut BTreeSet<String>) {
    match item {
        Item::Struct(item) if !is_for_tests(&item.attrs) => {
            fields(file, &item.ident.to_string(), &item.fields, found);
        }
        Item::Enum(item) if !is_for_tests(&item.attrs) => {
            for variant in &item.variants {
                fields(file, &format!("{}::{}", item.ident, variant.ident), &variant.fields, found);
            }
        }
        Item::Static(item) if holds_many(&item.ty) => {
            found.insert(format!("{file}::{}", item.ident));
        }
        Item::Mod(module) if !is_for_tests(&module.attrs) => {
            module.content.iter().flat_map(|(_, items)| items).for_each(|item| collect(file, item, found));
        }
        _ => {}
    }
}

fn fields(file: &str, owner: &str, fields: &Fields, found: &mut BTreeSet<String>) {
    for (at, field) in fields.iter().enumerate().filter(|(_, field)| !is_for_tests(&field.attrs) && holds_many(&field.ty)) {
        let name = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
        found.insert(format!("{file}::{owner}.{name}"));
    }
}

/// Whether a value of this type owns a collection. What is borrowed belongs to somebody else.
fn holds_many(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => {
            let names: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let is_single = names.iter().rev().nth(1).is_some_and(|module| SINGLE.contains(&module.as_str()));
            let is_one = names.last().is_some_and(|name| COLLECTIONS.contains(&name.as_str()));
            is_one && !is_single
                || path.path.segments.iter().any(|segment| match &segment.arguments {
                    PathArguments::AngleBracketed(arguments) => {
                        arguments.args.iter().any(|argument| matches!(argument, GenericArgument::Type(ty) if holds_many(ty)))
                    }
                    _ => false,
                })
        }
        Type::Tuple(tuple) => tuple.elems.iter().any(holds_many),
        Type::Array(array) => holds_many(&array.elem),
        Type::Slice(slice) => holds_many(&slice.elem),
        Type::Paren(inner) => holds_many(&inner.elem),
        Type::Group(inner) => holds_many(&inner.elem),
        _ => false,
    }
}

#[test]
fn collections_are_seen_wherever_they_hide() {
    let file: syn::File = syn::parse_str(
        "struct A { plain: String, list: Vec<u8>, hidden: Option<Arc<Mutex<HashMap<u8, u8>>>>, lent: &'a mut Vec<u8>, \
         one: oneshot::Receiver<()>, many: mpsc::Receiver<u8> } \
         struct B(u8, [VecDeque<u8>; 3]); \
         enum C { D { list: Vec<u8> }, E((u8, BTreeMap<u8, u8>)) } \
         #[cfg(test)] mod tests { struct F { list: Vec<u8> } }",
    )
    .unwrap();
    let mut found = BTreeSet::new();
    file.items.iter().for_each(|item| collect("x.rs", item, &mut found));
    let expected = ["x.rs::A.hidden", "x.rs::A.list", "x.rs::A.many", "x.rs::B.1", "x.rs::C::D.list", "x.rs::C::E.0"];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}
