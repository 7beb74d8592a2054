"""pyproject.toml, requirements.lock and environment.yml name one environment, which is whole and is this one."""

import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import repalign

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
LOCK = [
    line.strip()
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
# torch's CUDA build, which a machine with a GPU gets, needs them; its CPU build does not.
ONLY_WITH_CUDA = ("nvidia", "triton")


def pins(lines: list[str]) -> dict[str, str]:
    """Versions by name, where every line is a name and one exact version."""
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        assert not requirement.extras, line
        assert requirement.marker is None, line
        assert [part.operator for part in requirement.specifier] == ["=="], line
        version = next(iter(requirement.specifier)).version
        assert not version.endswith(".*"), line
        assert found.setdefault(canonicalize_name(requirement.name), version) == version, f"{line}: two versions"
    assert len(found) == len(lines), "a package stands twice"
    return found


def declared() -> dict[str, str]:
    return pins([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])


@cache
def locked() -> dict[str, str]:
    return pins(LOCK)


def conda_pip() -> dict[str, str]:
    return pins(next(part["pip"] for part in ENVIRONMENT if isinstance(part, dict)))


def test_the_lock_holds_what_is_declared() -> None:
    assert {"numpy", "torch", "snakemake", "pytest", "ruff"} <= declared().keys()
    assert {name: locked().get(name) for name in declared()} == declared()


def test_the_conda_environment_holds_what_is_declared_and_no_more() -> None:
    assert conda_pip() == declared()
    python = next(part for part in ENVIRONMENT if isinstance(part, str) and part.startswith("python"))
    assert python.removeprefix("python").strip() == PROJECT["requires-python"]


def test_the_lock_asks_for_no_option_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line in LOCK:
        assert not line.startswith("-"), line
        assert not any(sign in line for sign in ("/", "@", ";", "\\", "+")), line
    for sign in ("://", "index-url", "find-links", "trusted-host", "--hash"):
        assert sign not in text


@pytest.mark.parametrize("line", LOCK)
def test_a_locked_package_is_installed_and_needs_nothing_beside_the_lock(line: str) -> None:
    name = canonicalize_name(Requirement(line).name)
    installed, pin = metadata.distribution(name), Version(locked()[name])
    # A local version, such as torch's +cpu, is another build of the same.
    assert Version(installed.version).public == pin.public
    missing = []
    for requirement in map(Requirement, installed.requires or []):
        needed = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if name == "torch" and needed.startswith(ONLY_WITH_CUDA):
            continue
        if needed not in locked():
            missing.append(f"{requirement}: not in the lock")
        elif not requirement.specifier.contains(locked()[needed], prereleases=True):
            missing.append(f"{requirement}: the lock has {locked()[needed]}")
    assert missing == []


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == repalign.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == PROJECT["name"]
