"""Writes what packaging has to repeat: CMake's lists of shipped files, and the repository's address.

    python setup/packaging.py

The address is said once, as `scm_url` of ICHSegmentation.json. Run after a file came or went or the repository moved;
Testing/test_packaging.py says when that was forgotten. Nothing but the standard library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE_ENTRY = "ICHSegmentation.json"
ADDRESS = re.compile(r"https://github\.com/[^/\s\"]+/[^/\s\"]+")


def files_under(folder: Path) -> list[str]:
    """The files of a folder as sorted paths relative to it, without CMake's own and what Python leaves behind."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    hidden = (path for path in files if path.name != "CMakeLists.txt" and not path.name.startswith("."))
    return sorted(path.as_posix() for path in hidden if "__pycache__" not in path.parts)


def shipped(root: Path = ROOT) -> dict[tuple[str, str], list[str]]:
    """What each list must hold, by (file of CMake, name of the list)."""
    module, library = files_under(root / "ICHSegmentation"), files_under(root / "ICHSegmentationLib")
    ensemble = [f"ensemble/{name}" for name in files_under(root / "Resources" / "ensemble")]
    return {
        ("ICHSegmentation/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS"): [name for name in module if is_python(name)],
        ("ICHSegmentation/CMakeLists.txt", "MODULE_PYTHON_RESOURCES"): [name for name in module if not is_python(name)],
        ("ICHSegmentationLib/CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS"): library,
        ("ICHSegmentationLib/CMakeLists.txt", "LIBRARY_RESOURCES"): ["MODEL_CARD.md", *ensemble],
    }


def is_python(name: str) -> bool:
    return name.endswith(".py")


def list_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \)\n)", re.DOTALL)


def listed(text: str, name: str) -> list[str]:
    """The entries of a list in a CMake file's text."""
    found = list_pattern(name).search(text)
    if found is None:
        raise SystemExit(f"a list set({name} ...) with an entry a line is wanted in CMake's file; there is none.")
    return found[2].split()


def with_list(text: str, name: str, files: Iterable[str]) -> str:
    """A CMake file's text with a list replaced."""
    listed(text, name)
    lines = "".join(f"  {file}\n" for file in files)
    return list_pattern(name).sub(lambda found: found[1] + lines + found[3], text)


def address(root: Path = ROOT) -> str:
    """Where the repository is."""
    return json.loads((root / CATALOGUE_ENTRY).read_text(encoding="utf-8"))["scm_url"].removesuffix(".git")


def written(root: Path = ROOT) -> dict[str, str]:
    """The CMake files as they should be."""
    texts = {"CMakeLists.txt": ADDRESS.sub(address(root), read(root / "CMakeLists.txt"))}
    for (file, name), files in shipped(root).items():
        texts[file] = with_list(texts.get(file) or read(root / file), name, files)
    return texts


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def main() -> None:
    for file, text in written().items():
        if read(ROOT / file) != text:
            (ROOT / file).write_text(text, encoding="utf-8")
            print(f"{file} was written")


if __name__ == "__main__":
    main()
