# One prebuilt file of DuckDB, as scripts/fetch-duckdb gets it for every other build of the gateway.
#
# The recipe sets DUCKDB_FILE, the file's name. do_fetch runs the script, which takes packages of DuckDB's own by name and
# version through npm and pip and refuses a file whose sha256 is not the one it knows. What is in DL_DIR is used again, so a
# build without network needs `bitbake --runall=fetch` before, or a DL_DIR filled elsewhere:
#
#   XDG_CACHE_HOME=DL_DIR DUCKDB_DIR=DL_DIR/duckdb-prebuilt scripts/fetch-duckdb aarch64

inherit duckdb_version

COMPATIBLE_HOST = "(aarch64|x86_64).*-linux"
# Built against glibc, 2.25 or newer.
COMPATIBLE_HOST:libc-musl = "null"

# There is no archive, and so no folder of one.
S = "${UNPACKDIR}"

DUCKDB_DOWNLOADS = "${DL_DIR}/duckdb-prebuilt"

do_fetch[postfuncs] += "duckdb_fetch"
do_fetch[file-checksums] += "${DUCKDB_FETCH}:True"
duckdb_fetch() {
    XDG_CACHE_HOME="${DL_DIR}" DUCKDB_DIR="${DUCKDB_DOWNLOADS}" ${DUCKDB_FETCH} ${TARGET_ARCH}
}

do_unpack[postfuncs] += "duckdb_unpack"
duckdb_unpack() {
    # Looks at the checksum again: DL_DIR may be shared.
    XDG_CACHE_HOME="${DL_DIR}" DUCKDB_DIR="${DUCKDB_DOWNLOADS}" ${DUCKDB_FETCH} ${TARGET_ARCH}
    install -m 0644 ${DUCKDB_DOWNLOADS}/${TARGET_ARCH}/${DUCKDB_FILE} ${S}/
    install -m 0644 ${THISDIR}/files/LICENSE.duckdb ${S}/
}
do_unpack[file-checksums] += "${DUCKDB_FETCH}:True"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# DuckLake's file ends in a signature over all of it: whatever rewrites it breaks it. The library is stripped already.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
