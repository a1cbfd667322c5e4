FILESEXTRAPATHS:prepend:rembus-gateway-os := "${THISDIR}/files:"

# The firewall; what RAUC needs comes from meta-rauc.
SRC_URI:append:rembus-gateway-os = " file://rembus-gateway-firewall.cfg"
