# Which DuckDB goes with this checkout: scripts/fetch-duckdb has its version, and the checksums.

DUCKDB_FETCH = "${GATEWAY_TOPDIR}/scripts/fetch-duckdb"
DUCKDB_VERSION = "${@duckdb_version(d)}"
DUCKDB_VERSION[vardepvalue] = "${DUCKDB_VERSION}"

# Where DuckDB's own releases exist and DuckLake has a signed extension.
DUCKDB_ARCHITECTURES = "aarch64 x86_64"

def duckdb_version(d):
    path = d.getVar("DUCKDB_FETCH")
    bb.parse.mark_dependency(d, path)
    with open(path) as f:
        for line in f:
            key, _, value = line.partition("=")
            if key == "DUCKDB":
                return value.strip()
    bb.fatal("%s does not say which DUCKDB" % path)
