SUMMARY = "DuckDB, the database engine in which the gateway keeps history"
DESCRIPTION = "The library as DuckDB's own developers release it, in the version that the DuckLake extension was made for. It is \
what every test of the gateway runs with."
HOMEPAGE = "https://duckdb.org"
SECTION = "libs"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE.duckdb;md5=aa4bd2b7eb08223cfe36b648ba2e6b30"
CVE_PRODUCT = "duckdb:duckdb"

DUCKDB_FILE = "libduckdb.so"
inherit duckdb_prebuilt

PV = "${DUCKDB_VERSION}"

do_install() {
    install -D -m 0644 ${S}/libduckdb.so ${D}${libdir}/rembus-gateway/libduckdb.so
}

# A library without a version in its name, private to the gateway: it belongs into the package, not into -dev.
SOLIBS = ".so"
FILES_SOLIBSDEV = ""
FILES:${PN} = "${libdir}/rembus-gateway/libduckdb.so"
PRIVATE_LIBS = "libduckdb.so"
# Linked and stripped elsewhere.
INSANE_SKIP:${PN} += "already-stripped ldflags"
RDEPENDS:${PN} += "libgcc libstdc++"
