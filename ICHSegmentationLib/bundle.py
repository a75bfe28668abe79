"""What lies in a bundle's folder: the manifest and one file of weights a member. Needs the standard library only.

So a panel can say which ensemble it has, and whether it is whole, before torch is installed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ICHSegmentationLib.errors import BundleError

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
BUNDLED = "Resources/ensemble"


@dataclass(frozen=True)
class Manifest:
    """The content of `bundle.json`.

    Attributes:
        folder: where it was found.
        values: the JSON object.
        name, version: of the ensemble.
        files: the members' files, each with the SHA-256 that it must have.
        sha256: of the manifest itself, which holds those of the members: it names exactly these weights.
    """

    folder: Path
    values: dict[str, Any]
    name: str
    version: str
    files: tuple[tuple[str, str], ...]
    sha256: str

    def member_paths(self) -> list[Path]:
        """The members' files, each verified.

        Raises:
            BundleError: one is missing, cannot be read, or is not what the manifest says.
        """
        paths = [self.folder / name for name, _ in self.files]
        for path, (name, expected) in zip(paths, self.files, strict=True):
            if Path(name).name != name or not path.is_file():
                raise BundleError(f"the bundle lacks its member {name}.")
            try:
                found = file_sha256(path)
            except OSError as error:
                raise BundleError(f"{name} of the bundle cannot be read: {error.strerror}.") from None
            if found != expected:
                raise BundleError(
                    f"{name} is damaged or was changed: its SHA-256 starts with {found[:12]}, the manifest says "
                    f"{expected[:12]}."
                )
        return paths


def bundled_path() -> Path:
    """The folder of the ensemble that ships with the project, beside the package or within it."""
    package = Path(__file__).resolve().parent
    for root in (package, package.parent):
        if (root / BUNDLED / MANIFEST).exists():
            return root / BUNDLED
    raise BundleError(f"no bundled ensemble was found beside {package.name} ({BUNDLED}); name one with --bundle.")


def read_manifest(path: str | Path | None = None) -> Manifest:
    """Reads the manifest in a folder; by default that of the ensemble that ships with the project.

    Raises:
        BundleError: one sentence on what is missing, damaged or unknown.
    """
    folder = Path(path) if path is not None else bundled_path()
    try:
        content = (folder / MANIFEST).read_bytes()
        values = json.loads(content)
    except OSError:
        raise BundleError(f"{folder} is no bundle: it has no readable {MANIFEST}.") from None
    except ValueError:
        raise BundleError(f"the bundle's {MANIFEST} is not valid JSON.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"the bundle has format {version!r}; this version reads format {FORMAT_VERSION}.")
    try:
        files = tuple((str(member["file"]), str(member["sha256"])) for member in values["members"])
        name, version = values["name"], values["version"]
    except (KeyError, TypeError) as error:
        raise incomplete(error) from None
    if not files:
        raise BundleError("the bundle has no members.")
    return Manifest(folder, values, name, version, files, hashlib.sha256(content).hexdigest())


def incomplete(error: Exception) -> BundleError:
    return BundleError(f"the bundle's {MANIFEST} is incomplete or wrong: {error}.")


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
