# shellcheck shell=sh disable=SC2034 # the folders are for those who read this
# What the appliance's scripts share; read with `.`. POSIX sh, as busybox has it.
#
# ROOT is put before every path, so that the scripts can be tried on a folder (tests/yocto). On a device it is empty.

ROOT=${ROOT:-}
BOOT=$ROOT/boot
DATA=$ROOT/data
RUN=$ROOT/run/gateway-appliance
CONFIG=$DATA/etc/rembus-gateway
STATE=$DATA/lib/rembus-gateway
OWNER=rembus-gateway

# The journal has standard error; <4> makes a line a warning, <3> an error.
say() { echo "$*" >&2; }
warn() { echo "<4>$*" >&2; }
fail() { echo "<3>$*" >&2; exit 1; }

# Eight hex digits that tell this board from its sisters: the end of the serial number that the board has, else of its Ethernet
# address.
serial() {
    for source in sys/firmware/devicetree/base/serial-number sys/class/dmi/id/product_serial; do
        digits=$(tr -cd '0-9A-Fa-f' 2>/dev/null <"$ROOT/$source" | tr 'A-F' 'a-f') || continue
        case $digits in
            *[1-9a-f]*) printf '%08d%s' 0 "$digits" | tail -c 8; return 0 ;;
        esac
    done
    for address in "$ROOT"/sys/class/net/[ew]*/address; do
        [ -e "$address" ] || continue
        tr -cd '0-9a-f' <"$address" | tail -c 8
        return 0
    done
    printf 00000000
}

# put FILE MODE: standard input becomes FILE, whole or not at all, also if the plug is pulled meanwhile.
put() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.new" && chmod "$2" "$1.new" && sync && mv "$1.new" "$1" && sync
}

# Runs a command while the boot partition may be written. On a device it is mounted read-only but for these moments.
with_boot_writable() {
    remount=
    if [ -z "$ROOT" ] && grep -q '^[^ ]* /boot [^ ]* ro[, ]' /proc/mounts; then
        mount -o remount,rw /boot || return 1
        remount=yes
    fi
    outcome=0
    "$@" || outcome=$?
    sync
    [ -z "$remount" ] || mount -o remount,ro /boot
    return "$outcome"
}

# setting KEY: its value in the provisioned network.conf, or nothing. `provision` has looked at the file before it is there.
setting() {
    [ -e "$DATA/etc/network.conf" ] || return 0
    sed -n "s/^$1=//p" "$DATA/etc/network.conf" | tail -n 1
}
