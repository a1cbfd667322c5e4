SUMMARY = "What makes a board with a gateway on it an appliance"
DESCRIPTION = "Data partition, provisioning from the boot partition, name from the serial number, firewall, health check of a \
new image, factory reset, clock without a clock chip, journal that spares the card."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = ""

inherit deploy rembus_gateway_appliance systemd

SRC_URI = " \
    file://bin \
    file://etc \
    file://units \
"
S = "${UNPACKDIR}"

PACKAGE_ARCH = "${MACHINE_ARCH}"
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"

# systemd's name for the device of the data partition.
DEVICE_DATA = "${@d.getVar('GATEWAY_DISK_PART').lstrip('/').replace('/', '-')}4"

do_install() {
    install -d ${D}${libexecdir}/rembus-gateway ${D}${sbindir} ${D}${systemd_system_unitdir}
    for script in ${S}/bin/*; do
        case $script in
            */rembus-gateway-*) install -m 0755 -t ${D}${sbindir} $script ;;
            *.sh) install -m 0644 -t ${D}${libexecdir}/rembus-gateway $script ;;
            *) install -m 0755 -t ${D}${libexecdir}/rembus-gateway $script ;;
        esac
    done
    install -m 0644 -t ${D}${systemd_system_unitdir} ${S}/units/*
    sed -i -e 's|@@DISK_PART@@|${GATEWAY_DISK_PART}|g' -e 's|@@DISK@@|${GATEWAY_DISK}|g' \
        -e 's|@@DEVICE_DATA@@|${DEVICE_DATA}|g' -e 's|@@BOOT_OPTIONS@@|${GATEWAY_BOOT_OPTIONS}|g' \
        ${D}${systemd_system_unitdir}/*

    # Drop-ins below /usr/lib: /etc stays the integrator's.
    install -D -m 0644 ${S}/etc/50-rembus-gateway.service.conf ${D}${systemd_system_unitdir}/rembus-gateway.service.d/50-appliance.conf
    install -D -m 0644 ${S}/etc/50-rembus-gateway-first-start.conf \
        ${D}${systemd_system_unitdir}/rembus-gateway-first-start.service.d/50-appliance.conf
    for unit in emergency rescue; do
        install -D -m 0644 ${S}/etc/50-rembus-gateway-trial.conf ${D}${systemd_system_unitdir}/$unit.service.d/50-appliance.conf
    done
    for part in journald system timesyncd resolved; do
        install -D -m 0644 ${S}/etc/50-rembus-gateway-$part.conf ${D}${nonarch_libdir}/systemd/$part.conf.d/50-rembus-gateway.conf
    done
    install -D -m 0644 ${S}/etc/50-rembus-gateway-sshd.conf ${D}${sysconfdir}/ssh/sshd_config.d/50-rembus-gateway.conf
    install -D -m 0644 -t ${D}${nonarch_libdir}/systemd/dnssd ${S}/etc/*.dnssd

    # The first configuration of a new data partition.
    install -D -m 0644 -t ${D}${datadir}/rembus-gateway ${S}/etc/gateway.toml
    install -d ${D}/data ${D}/boot ${D}${localstatedir}/lib
    ln -s ../../..${sysconfdir}/rembus-gateway/telemetry.json ${D}${datadir}/rembus-gateway/telemetry.json
}

# What a technician finds on the boot partition; the editors of other systems want CR at the end of a line.
do_deploy() {
    install -d ${DEPLOYDIR}/provisioning
    for file in README.txt network.conf.example; do
        sed 's/$/\r/' ${S}/etc/$file > ${DEPLOYDIR}/provisioning/$file
    done
    sed 's/$/\r/' ${S}/etc/gateway.toml > ${DEPLOYDIR}/provisioning/gateway.toml.example
}
addtask deploy after do_install before do_build

SYSTEMD_SERVICE:${PN} = " \
    boot.mount \
    data.mount \
    rembus-gateway-clock-save.timer \
    rembus-gateway-clock-stop.service \
    rembus-gateway-data.service \
    rembus-gateway-error-log.service \
    rembus-gateway-firewall.service \
    rembus-gateway-health.service \
    rembus-gateway-network-check.service \
    rembus-gateway-provision.service \
    rembus-gateway-trial-limit.service \
    rembus-gateway-wifi.service \
"
FILES:${PN} += "\
    /boot \
    /data \
    ${datadir}/rembus-gateway \
    ${nonarch_libdir}/systemd \
    ${systemd_system_unitdir} \
"
RDEPENDS:${PN} += "\
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    iputils-ping \
    libubootenv-bin \
    nftables \
    openssh-keygen \
    openssl-bin \
    rembus-gateway \
    util-linux-fsck \
    util-linux-resizepart \
    util-linux-sfdisk \
"
