FILESEXTRAPATHS:prepend:rembus-gateway-os:rpi := "${THISDIR}/files:"

# The environment is in the gap before the first partition, twice, each copy with a checksum and a number: a power cut while one
# is written leaves the other. In a file of the boot partition, which is the board's default, it would be at the mercy of FAT.
SRC_URI:append:rembus-gateway-os:rpi = " file://rembus-gateway-rpi.cfg"

# An option that is not known, or whose dependency is missing, is dropped from a fragment without a word.
do_configure:append:rembus-gateway-os() {
    [ -e ${UNPACKDIR}/rembus-gateway-rpi.cfg ] || return 0
    grep '^CONFIG_.*=' ${UNPACKDIR}/rembus-gateway-rpi.cfg | while read -r option; do
        grep -qxF "$option" ${B}/.config || bbfatal "U-Boot's configuration does not take $option"
    done
}
