# The keys that sign updates: refuses, with the way out, what needs them while they are not there. conf/distro/rembus-gateway-os.conf
# says where they are; GATEWAY_KEYS_NEEDED names the variables that a recipe uses.
#
# rauc-conf inherits this under our own distro only.
# nooelint: oelint.vars.noncoreoverride
python () {
    # A device needs to know only whom to trust.
    for name in (d.getVar("GATEWAY_KEYS_NEEDED") or "RAUC_KEYRING_FILE").split():
        path = d.getVar(name)
        bb.parse.mark_dependency(d, path)
        if not os.path.isfile(path):
            raise bb.parse.SkipRecipe("no keys for updates: %s is %s, which is not there; run yocto/make-keys" % (name, path))
}
