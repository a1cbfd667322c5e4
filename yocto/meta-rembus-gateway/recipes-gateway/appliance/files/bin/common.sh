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
# The certificate that the gateway shows. Root writes it, so it lies outside the service's own folder: a link that a broken
# service leaves there must not lead root elsewhere.
TLS=$DATA/tls

# How the data file system is made, on the card's image, after a factory reset, and for whatever size it grows to: without these
# mke2fs chooses by the size it sees first. The image's layout (files/wic) says the same.
DATA_GEOMETRY="-b 4096 -I 256 -i 16384 -J size=16 -m 1"

# The journal has standard error; <4> makes a line a warning, <3> an error.
# printf, because the echo of dash turns a backslash and a letter into something else.
say() { printf '%s\n' "$*" >&2; }
warn() { printf '<4>%s\n' "$*" >&2; }
fail() { printf '<3>%s\n' "$*" >&2; exit 1; }

# The root slot of this start, A or B.
slot() { sed -n 's/.*rauc\.slot=\([AB]\).*/\1/p' "$ROOT/proc/cmdline"; }

# The slot whose version has not been seen to work yet, or nothing. It is written to the boot loader's environment before an
# update touches the slot and removed by the first healthy start, so neither the data partition nor a cut in between decides.
trial() { fw_printenv -n gateway_trial 2>/dev/null || true; }
on_trial() { [ -n "$(slot)" ] && [ "$(trial)" = "$(slot)" ]; }

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

# keep SOURCE FILE MODE: SOURCE is copied to FILE in the same way. The copy is read back first: what cannot be read to its end, or
# has no room, replaces nothing.
keep() {
    mkdir -p "$(dirname "$2")" || return 1
    if cp "$1" "$2.new" && chmod "$3" "$2.new" && sync && cmp -s "$1" "$2.new" && mv "$2.new" "$2" && sync; then return 0; fi
    rm -f "$2.new"
    return 1
}

# hand_over SOURCE FILE: copies SOURCE to FILE on the boot partition, and reads it back.
hand_over() {
    if cp "$1" "$2.new" && sync && cmp -s "$1" "$2.new" && mv "$2.new" "$2" && sync; then return 0; fi
    rm -f "$2.new"
    return 1
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
