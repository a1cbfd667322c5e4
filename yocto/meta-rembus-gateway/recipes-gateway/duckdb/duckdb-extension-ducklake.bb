SUMMARY = "DuckLake for DuckDB: tables as Parquet files with a catalog"
DESCRIPTION = "The extension with DuckDB's official signature. It loads into exactly its own version of DuckDB."
HOMEPAGE = "https://ducklake.select"
SECTION = "libs"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE.duckdb;md5=aa4bd2b7eb08223cfe36b648ba2e6b30"
CVE_PRODUCT = "duckdb:ducklake"

DUCKDB_FILE = "ducklake.duckdb_extension"
inherit duckdb_prebuilt

PV = "${DUCKDB_VERSION}"

do_install() {
    install -D -m 0644 ${S}/ducklake.duckdb_extension ${D}${libdir}/rembus-gateway/ducklake.duckdb_extension
}

FILES:${PN} = "${libdir}/rembus-gateway/ducklake.duckdb_extension"
# Linked and stripped elsewhere.
INSANE_SKIP:${PN} += "already-stripped ldflags"
RDEPENDS:${PN} += "libduckdb libgcc libstdc++"
