FILESEXTRAPATHS:prepend:rembus-gateway-os := "${THISDIR}/files:"

# What RAUC needs for signed bundles, and the firewall; meta-rauc does the same for linux-yocto only.
SRC_URI:append:rembus-gateway-os = " file://rembus-gateway.cfg"
