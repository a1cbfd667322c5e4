SUMMARY = "Firmware of a Rembus Gateway, for the bench"
DESCRIPTION = "The same with tools, and root logs in without a password: never in the field."
LICENSE = "MIT"
CVE_PRODUCT = ""

require rembus-gateway-image.inc

# Tools are large.
GATEWAY_ROOTFS_KIB = "491520"

IMAGE_INSTALL:append = " packagegroup-rembus-gateway-dev-tools"
IMAGE_FEATURES += "allow-empty-password allow-root-login empty-root-password post-install-logging"
