"""Checks licences, sources and bans of deny.toml on what `cargo metadata` says; see scripts/audit."""

import json
import re
import subprocess
import sys
import tomllib

TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")


def packages(target):
    """Everything that a build or a test on `target` uses."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    return [package for package in metadata["packages"] if package["id"] in used]


def licence_fits(expression, allowed):
    """Evaluates an SPDX expression: a name fits if it is allowed, AND and OR mean what they say."""
    text = re.sub(r"\s*/\s*", " OR ", expression)  # the old way of writing OR
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[\w.+-]+(?: WITH [\w.+-]+)?", text)
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    return bool(eval(" ".join(words.get(token, str(token in allowed)) for token in tokens)))  # only words of the table above


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    allowed = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"].get("deny", [])}
    mistakes = set()
    seen = {}
    for target in TARGETS:
        for package in packages(target):
            name = f"{package['name']} {package['version']}"
            seen[package["id"]] = name
            licence = package["license"] or "none"
            if not licence_fits(licence, allowed | exceptions.get(package["name"], set())):
                mistakes.add(f"{name}: licence `{licence}` is not allowed by deny.toml")
            if package["source"] is not None and not package["source"].startswith("registry+"):
                mistakes.add(f"{name}: comes from `{package['source']}`, not from the registry")
            if package["name"] in banned:
                mistakes.add(f"{name}: banned: {banned[package['name']]}")
    for mistake in sorted(mistakes):
        print(f"audit: {mistake}", file=sys.stderr)
    print(f"audit: {len(seen)} packages, {len(mistakes)} mistakes")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
