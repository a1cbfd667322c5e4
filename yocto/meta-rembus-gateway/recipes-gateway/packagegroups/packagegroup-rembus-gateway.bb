SUMMARY = "Everything that a gateway image has beside the base system"
DESCRIPTION = "The gateway, what makes the board an appliance, updates, and the way in for whoever looks after it."
CVE_PRODUCT = ""
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup rembus_gateway_appliance

PACKAGES = "${PN} ${PN}-dev-tools"

# The kernel is in the root slot: an update brings its own.
RDEPENDS:${PN} = " \
    kernel-image \
    libubootenv-bin \
    openssh-sshd \
    packagegroup-machine-base \
    rauc \
    rauc-conf \
    rembus-gateway \
    rembus-gateway-appliance \
    tzdata-core \
    u-boot-env \
    util-linux-agetty \
    wireless-regdb-static \
    wpa-supplicant \
"

# For looking into a gateway on the bench; not for the field.
RDEPENDS:${PN}-dev-tools = " \
    htop \
    iperf3 \
    mosquitto-clients \
    strace \
    tcpdump \
"
