"""What of the library's needs this Python has, and how to get the rest. The standard library only; loads nothing.

In Slicer the interpreter that runs the worker shares its packages with the application, so that looking here tells
what the worker will find.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from ICHSegmentationLib.bundle import Manifest, read_manifest
from ICHSegmentationLib.errors import BundleError, InputError, sentence

APPLICATIONS_OWN = ("SimpleITK",)  # Slicer has its own build, which pip must not replace
Version = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Installation:
    """What is there.

    Attributes:
        requirements: the ranges that the library wants, "name>=version".
        versions: of those packages, by name; None where a package is not installed, "?" where it does not say.
        bundle: the ensemble; None if it cannot be used.
        bundle_problem: why not.
    """

    requirements: tuple[str, ...]
    versions: dict[str, str | None]
    bundle: Manifest | None
    bundle_problem: str

    @property
    def missing(self) -> list[str]:
        """The ranges that are not met, torch first: whatever needs torch would else bring a torch of its own choice."""
        found = [need for need in self.requirements if not is_met(need, self.versions[name_of(need)])]
        return sorted(found, key=lambda need: name_of(need) != "torch")

    @property
    def to_install(self) -> list[str]:
        """The missing ranges that pip may install."""
        return [need for need in self.missing if name_of(need) not in APPLICATIONS_OWN]

    @property
    def why_not(self) -> str:
        """Why no scan can be segmented, in a sentence; empty if one can."""
        if self.versions["torch"] is None:
            return "PyTorch is not installed; open Set-up and click Install."
        if self.missing and not self.to_install:
            return f"This Slicer's own {', '.join(self.missing)} is missing or too old; a newer Slicer is wanted."
        if self.missing:
            return f"Missing or too old: {', '.join(self.missing)}; open Set-up and click Install."
        return sentence(self.bundle_problem)


def look(requirements: Iterable[str], bundle: Path | None, version: Version | None = None) -> Installation:
    """What is installed, and whether the ensemble is whole.

    Args:
        requirements: "name>=version" each.
        bundle: folder of another ensemble than the bundled one.
        version: tells the version of a package; default: `installed_version`.
    """
    wanted = tuple(requirements)
    version = version or installed_version
    manifest, problem = None, ""
    try:
        manifest = read_manifest(bundle)
        manifest.member_paths()
    except BundleError as error:
        manifest, problem = None, str(error)
    return Installation(wanted, {name_of(need): version(name_of(need)) for need in wanted}, manifest, problem)


def read_requirements(path: Path) -> list[str]:
    """The ranges in a requirements file; comments and empty lines are passed over."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line]
    for line in found:
        if not re.fullmatch(r"[\w-]+>=\d+(\.\d+)*", line):
            raise InputError(f"{path.name} says {line!r}; name>=version is wanted.")
    return found


def name_of(requirement: str) -> str:
    return requirement.split(">=")[0]


def is_met(requirement: str, version: str | None) -> bool:
    """Whether a version lies in a range; one that a package does not tell is taken to."""
    return version is not None and (version == "?" or numbers_of(version) >= numbers_of(requirement.split(">=")[1]))


def numbers_of(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: (2, 4) of "2.4rc1+cpu"."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def installed_version(package: str) -> str | None:
    """The version of a package, without loading it; "?" if it is there and does not say; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?" if util.find_spec(package) is not None else None


def forget_what_was_looked_up() -> None:
    """To be called after pip has run: Python remembers folders' contents."""
    importlib.invalidate_caches()


def offline_arguments(wheels: Path, requirements: Iterable[str]) -> list[str]:
    """Arguments of `pip install` that take packages from a folder and from nowhere else.

    Raises:
        InputError: the folder holds no wheels.
    """
    if not any(wheels.glob("*.whl")):
        raise InputError(f"{wheels} holds no wheels (*.whl); a folder of them is wanted.")
    return ["--no-index", "--find-links", str(wheels), *requirements]


def set_up_lines(installation: Installation, device: str) -> list[str]:
    """Torch, device and ensemble, a line each, for a person."""
    torch = installation.versions["torch"]
    bundle = installation.bundle
    missing = [need for need in installation.missing if name_of(need) != "torch"]
    lines = [f"PyTorch: {torch}" if torch is not None else "PyTorch: not installed"]
    if torch is not None and not is_met(torch_range(installation.requirements), torch):
        lines[0] += f" (too old: {torch_range(installation.requirements)} is wanted)"
    if missing:
        lines.append(f"Missing or too old: {', '.join(missing)}")
    lines.append(f"Device: {device}")
    if bundle is not None:
        lines.append(f"Ensemble: {bundle.name} {bundle.version} ({bundle.sha256[:12]})")
    else:
        lines.append(f"Ensemble: {installation.bundle_problem}")
    return lines


def torch_range(requirements: Iterable[str]) -> str:
    return next(need for need in requirements if name_of(need) == "torch")
