"""Folders with a file a case."""

from __future__ import annotations

from pathlib import Path

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import SUFFIXES, is_image_file


def image_files(folder: Path) -> dict[str, Path]:
    """The image files of a folder by name without the ending."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_image_file(path) or path.name.startswith("."):
            continue
        case = case_of(path)
        if case in found:
            raise InputError(f"{folder} holds two files for case {case}: {found[case].name} and {path.name}.")
        found[case] = path
    return found


def case_of(path: Path) -> str:
    """The name of a file without the ending of an image file, if it has one."""
    suffixes = sorted(SUFFIXES, key=len, reverse=True)
    suffix = next((each for each in suffixes if path.name.lower().endswith(each)), "")
    return path.name[: len(path.name) - len(suffix)]


def some_of(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
