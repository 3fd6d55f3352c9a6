"""pyproject.toml, constraints.txt and environment.yml say the same."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
# Streaming needs an older numpy than the pins: its two extras are for environments of their own.
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if "streaming" not in name}
REQUIREMENTS += [Requirement(line) for lines in EXTRAS.values() for line in lines]
FILES = ("pyproject.toml", "constraints.txt", "environment.yml")


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """Package -> exact version."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, f"not an exact version: {line}"
        name = canonicalize_name(requirement.name)
        assert name not in pins, f"pinned twice: {name}"
        pins[name] = specifier.version
    return pins


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_has_a_pin_that_satisfies_it(requirement, pins):
    if requirement.name == "nmm":       # an extra that includes another
        return
    name = canonicalize_name(requirement.name)
    assert name in pins, f"{requirement} has no pin in constraints.txt"
    assert requirement.specifier.contains(pins[name]), f"constraints.txt pins {name} {pins[name]}, pyproject.toml asks for {requirement}"


def test_environment_installs_the_project_under_the_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    names = {re.split(r"[=<> ]", item)[0]: item for item in conda}
    assert {"python", "pip"} <= set(names)
    assert any(re.fullmatch(r"(-e|--editable) \.\[(book,test|test,book)\]", item) for item in pip), pip
    assert any(re.fullmatch(r"(-c|--constraint) constraints\.txt", item) for item in pip), pip
    version = re.search(r"\d+\.\d+", names["python"]).group()
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert allowed.contains(version), f"environment.yml has python {version}, pyproject.toml asks for {allowed}"


@pytest.mark.parametrize("name", FILES)
def test_no_registry_is_named(name):
    """Packages come from wherever the reader's pip looks: no URL, no file path, no index option."""
    text = (ROOT / name).read_text()
    found = re.findall(r"[a-z+]+://\S+|--(?:extra-)?index-url\S*|--find-links\S*|@ *(?:file|git)\S*", text)
    assert not found


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="constraints.txt was made for Python 3.11")
def test_this_environment_is_the_pinned_one(pins):
    """What the tests run on is what is pinned, for everything the project asks for by name."""
    from importlib.metadata import PackageNotFoundError, version

    different = {}
    for requirement in REQUIREMENTS:
        name = canonicalize_name(requirement.name)
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:        # an extra that is not installed
            continue
        if name in pins and installed.split("+")[0] != pins[name]:
            different[name] = (installed, pins[name])
    assert not different, f"installed, pinned: {different}"
