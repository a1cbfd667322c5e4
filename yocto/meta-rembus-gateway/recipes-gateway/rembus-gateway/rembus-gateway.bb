SUMMARY = "Edge gateway: MQTT in, Rembus out, acknowledged means on the disk"
DESCRIPTION = "A broker for the small computer at the edge. Sensors publish over MQTT, components subscribe and call over \
Rembus, and what matches a schema is kept as DuckLake tables on the gateway."
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-MIT;md5=cf957691d41e0d5b68c61c2f37a80f14 \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
"
CVE_PRODUCT = "rembus-gateway"

# Crates are read from the lock file of the checkout, so that it is there when the recipe is parsed.
CARGO_LOCK_FILE = "${GATEWAY_TOPDIR}/Cargo.lock"
inherit cargo cargo_lock duckdb_version systemd useradd

PV = "${@cargo_lock_version(d, 'rembus-gateway')}"

# The sources are the checkout that this layer is part of: what a build needs and nothing else, so that a changed test or page
# does not build an image again. Uncommitted changes count, and nothing is written into the checkout.
FILESEXTRAPATHS:prepend := "${GATEWAY_TOPDIR}:"
SRC_URI = " \
    file://Cargo.lock;subdir=${BP} \
    file://Cargo.toml;subdir=${BP} \
    file://LICENSE-APACHE;subdir=${BP} \
    file://LICENSE-MIT;subdir=${BP} \
    file://build.rs;subdir=${BP} \
    file://schemas;subdir=${BP} \
    file://src;subdir=${BP} \
    file://systemd;subdir=${BP} \
"

# duckdb: history in DuckDB with DuckLake. Without it the gateway keeps the same tables with its `lite` back end, which asks
# for no library: the only way on 32-bit processors, for which neither DuckDB nor DuckLake is released.
PACKAGECONFIG ??= "${PACKAGECONFIG_DUCKDB}"
PACKAGECONFIG_DUCKDB = "${@'duckdb' if d.getVar('TARGET_ARCH') in d.getVar('DUCKDB_ARCHITECTURES').split() and d.getVar('TCLIBC') == 'glibc' else ''}"
PACKAGECONFIG[duckdb] = ",--no-default-features,libduckdb,libduckdb duckdb-extension-ducklake"

# An image whose history cannot start must not be built: refused when the recipe is parsed, with the reason.
python () {
    if "armv6" in (d.getVar("TUNE_FEATURES") or "").split():
        raise bb.parse.SkipRecipe("the gateway is not made for ARMv6 (Raspberry Pi 1, Zero); ARMv7 is the oldest")
    if "duckdb" not in (d.getVar("PACKAGECONFIG") or "").split():
        return
    arch, libc = d.getVar("TARGET_ARCH"), d.getVar("TCLIBC")
    lite = "; take duckdb out of PACKAGECONFIG, history is then kept by the lite back end"
    if arch not in d.getVar("DUCKDB_ARCHITECTURES").split():
        raise bb.parse.SkipRecipe("there is neither DuckDB nor DuckLake for %s%s" % (arch, lite))
    if libc != "glibc":
        raise bb.parse.SkipRecipe("DuckDB is released for glibc, not for %s%s" % (libc, lite))
    # The crate of DuckDB 1.5.5 has the version 1.10505.0.
    crate, engine = cargo_lock_version(d, "duckdb"), d.getVar("DUCKDB_VERSION")
    major, minor, patch = (int(n) for n in engine.split("."))
    if crate.split(".")[1] != str(major * 10000 + minor * 100 + patch):
        raise bb.parse.SkipRecipe("Cargo.lock has the duckdb crate %s, scripts/fetch-duckdb DuckDB %s: an extension loads into "
                                  "exactly its own version" % (crate, engine))
}

# build.rs: leave this machine's paths out of the binary. libduckdb-sys: link this library.
export REMBUS_GATEWAY_DIST = "1"
export DUCKDB_LIB_DIR = "${STAGING_LIBDIR}/rembus-gateway"
CARGO_BUILD_FLAGS:append = " --bin rembus-gateway"

# As packages carry it, but with the symbols, which go into -dbg.
BUILD_MODE = "--profile dist"
BUILD_DIR = "dist"
export CARGO_PROFILE_DIST_STRIP = "none"
export CARGO_PROFILE_DIST_DEBUG = "line-tables-only"
RUSTFLAGS += "-C force-unwind-tables=no"

# The unit's user. The number is fixed: what belongs to it is on the data partition and outlives the image.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid 812 rembus-gateway"
USERADD_PARAM:${PN} = "--system --uid 812 --gid 812 --no-create-home --home-dir ${localstatedir}/lib/rembus-gateway \
    --shell /sbin/nologin rembus-gateway"

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/rembus-gateway ${D}${bindir}/rembus-gateway
    install -D -m 0644 ${S}/schemas/telemetry.json ${D}${sysconfdir}/rembus-gateway/telemetry.json
    printf '[history]\nschema = "telemetry.json"\n' > ${D}${sysconfdir}/rembus-gateway/gateway.toml

    # Whatever the repository has for systemd, by the ending of its name.
    for file in ${S}/systemd/*; do
        case $file in
            *.service | *.socket | *.timer | *.path | *.target)
                install -D -m 0644 -t ${D}${systemd_system_unitdir} $file ;;
            *.catalog)
                install -D -m 0644 -t ${D}${nonarch_libdir}/systemd/catalog $file ;;
            */first-start)
                install -D -m 0755 -t ${D}${nonarch_libdir}/rembus-gateway $file ;;
            *.sysusers)
                install -D -m 0644 $file ${D}${nonarch_libdir}/sysusers.d/rembus-gateway.conf ;;
            *.tmpfiles)
                install -D -m 0644 $file ${D}${nonarch_libdir}/tmpfiles.d/rembus-gateway.conf ;;
        esac
    done
}

SYSTEMD_SERVICE:${PN} = "rembus-gateway.service"
FILES:${PN} += "\
    ${nonarch_libdir}/rembus-gateway \
    ${nonarch_libdir}/systemd/catalog \
    ${nonarch_libdir}/sysusers.d \
    ${nonarch_libdir}/tmpfiles.d \
"
CONFFILES:${PN} = " \
    ${sysconfdir}/rembus-gateway/gateway.toml \
    ${sysconfdir}/rembus-gateway/telemetry.json \
"
