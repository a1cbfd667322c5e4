# Fetches exactly the crates that Cargo.lock pins.
#
# cargo-update-recipe-crates writes a generated list beside the recipe, which then has to be kept in step with the lock file by
# hand. This class reads the lock file when the recipe is parsed: one source of truth, and the checksums are the lock's own.

CARGO_LOCK_FILE ?= "${S}/Cargo.lock"
CARGO_LOCK_URIS = "${@cargo_lock_uris(d)}"
CARGO_LOCK_URIS[vardepvalue] = "${CARGO_LOCK_URIS}"
SRC_URI:append = " ${CARGO_LOCK_URIS}"

def cargo_lock_packages(d):
    import tomllib
    path = d.getVar("CARGO_LOCK_FILE")
    bb.parse.mark_dependency(d, path)
    with open(path, "rb") as f:
        return tomllib.load(f).get("package", [])

def cargo_lock_version(d, name):
    """The version that the lock file has of a package, or None."""
    for pkg in cargo_lock_packages(d):
        if pkg["name"] == name:
            return pkg["version"]
    return None

def cargo_lock_uris(d):
    uris = []
    for pkg in cargo_lock_packages(d):
        source = pkg.get("source")
        if source is None:
            continue    # a member of this workspace
        kind, _, url = source.partition("+")
        if kind not in ("registry", "sparse") or "checksum" not in pkg:
            bb.fatal("%s %s: only registry crates with a checksum can be built, not %s"
                     % (pkg["name"], pkg["version"], source))
        # the index of a registry is named after the registry: <registry>-index
        registry = url.rstrip("/").rsplit("/", 1)[-1].removesuffix("-index")
        name = "%s-%s" % (pkg["name"], pkg["version"])
        uris.append("crate://%s/%s/%s;name=%s;sha256sum=%s"
                    % (registry, pkg["name"], pkg["version"], name, pkg["checksum"]))
    return " ".join(uris)
