SUMMARY = "U-Boot script that chooses the root slot"
DESCRIPTION = "Counts the tries of each slot down, so that an image that does not come up is left after three of them."
SECTION = "bootloaders"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = ""

DEPENDS = "u-boot-mkimage-native"
INHIBIT_DEFAULT_DEPS = "1"
PROVIDES += "u-boot-default-script"

SRC_URI = "file://boot.cmd.in"
S = "${UNPACKDIR}"

inherit kernel-arch deploy nopackages

PACKAGE_ARCH = "${MACHINE_ARCH}"
COMPATIBLE_MACHINE = "^(rpi|qemuarm64)$"

do_configure[noexec] = "1"

do_compile() {
    sed -e 's|@@KERNEL_IMAGETYPE@@|${KERNEL_IMAGETYPE}|g' \
        -e 's|@@KERNEL_BOOTCMD@@|${KERNEL_BOOTCMD}|g' \
        -e 's|@@KERNEL_ARGS@@|${GATEWAY_KERNEL_ARGS}|g' \
        -e 's|@@DISK_PART@@|${GATEWAY_DISK_PART}|g' \
        ${S}/boot.cmd.in > ${B}/boot.cmd
    mkimage -A ${UBOOT_ARCH} -T script -C none -n "Rembus Gateway" -d ${B}/boot.cmd ${B}/boot.scr
}

do_install[noexec] = "1"

do_deploy() {
    install -D -m 0644 -t ${DEPLOYDIR} ${B}/boot.scr
}
addtask deploy after do_compile before do_build
