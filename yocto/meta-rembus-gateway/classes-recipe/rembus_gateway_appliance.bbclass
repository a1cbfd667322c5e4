# For recipes that make sense only as parts of the whole firmware: refused, with the reason, where the distro is another one. The
# gateway itself (recipe rembus-gateway) needs none of this and can be put into any image.
python () {
    if "rembus-gateway-os" not in d.getVar("OVERRIDES").split(":"):
        raise bb.parse.SkipRecipe('part of the firmware: needs DISTRO = "rembus-gateway-os"')
}
