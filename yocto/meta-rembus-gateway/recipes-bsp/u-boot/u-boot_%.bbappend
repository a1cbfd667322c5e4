FILESEXTRAPATHS:prepend:rembus-gateway-os := "${THISDIR}/files:"

# In QEMU U-Boot keeps its environment in a file of the boot partition: there is no card whose gap could hold it.
SRC_URI:append:rembus-gateway-os:qemuarm64 = " \
    file://rembus-gateway-qemu.cfg \
    file://fw_env.config \
"
