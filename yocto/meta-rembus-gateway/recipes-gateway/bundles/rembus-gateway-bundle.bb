SUMMARY = "Signed update of the gateway's firmware"
DESCRIPTION = "What `rauc install` takes on a gateway: the root file system with its kernel, signed, for one kind of board."
SECTION = "base"
LICENSE = "MIT"
CVE_PRODUCT = ""

inherit bundle rembus_gateway_keys
GATEWAY_KEYS_NEEDED = "RAUC_KEY_FILE RAUC_CERT_FILE RAUC_KEYRING_FILE"

PV = "${DISTRO_VERSION}"

RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_COMPATIBLE = "rembus-gateway-${MACHINE}"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_DESCRIPTION = "Rembus Gateway ${DISTRO_VERSION} for ${MACHINE}"
# No date: the same sources give the same bundle.
RAUC_BUNDLE_BUILD = "${DISTRO_VERSION}"

RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "rembus-gateway-image"
RAUC_SLOT_rootfs[fstype] = "ext4"
