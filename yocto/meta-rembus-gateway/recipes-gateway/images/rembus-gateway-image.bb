SUMMARY = "Firmware of a Rembus Gateway"
DESCRIPTION = "Flash it on a card: read-only root in two slots, everything that changes on a data partition."
LICENSE = "MIT"
CVE_PRODUCT = ""

require rembus-gateway-image.inc

# Half of the slot is for versions to come.
GATEWAY_ROOTFS_KIB = "262144"
