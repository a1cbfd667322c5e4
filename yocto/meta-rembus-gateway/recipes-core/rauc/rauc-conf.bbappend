FILESEXTRAPATHS:prepend:rembus-gateway-os := "${THISDIR}/files:"

inherit_defer ${@bb.utils.contains('DISTRO', 'rembus-gateway-os', 'rembus_gateway_keys', '', d)}

do_install:append:rembus-gateway-os() {
    sed -i -e 's|@@MACHINE@@|${MACHINE}|g' -e 's|@@DISK_PART@@|${GATEWAY_DISK_PART}|g' \
        -e "s|@@KEYRING@@|$(basename ${RAUC_KEYRING_FILE})|g" \
        -e 's|@@LIBEXECDIR@@|${libexecdir}|g' \
        ${D}${nonarch_libdir}/rauc/system.conf
}

PACKAGE_ARCH:rembus-gateway-os = "${MACHINE_ARCH}"
