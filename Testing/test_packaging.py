"""What makes the repository an extension of 3D Slicer: lists, a catalogue entry, pictures; built and installed.

CMake runs here on stand-ins for Slicer's own macros (slicer/cmake/), which put the files where Slicer's would.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from worker_talk import write_scan

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("packaging_script", ROOT / "setup" / "packaging.py")
assert spec is not None
assert spec.loader is not None
packaging: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(packaging)

ENTRY = json.loads((ROOT / "ICHSegmentation.json").read_text())
CMAKE = (ROOT / "CMakeLists.txt").read_text()
# the catalogue's schema, version 1.0.1
SCHEMA = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
LARGEST_REPOSITORY_MB = 100


def cmake() -> str | None:
    """The program, of this environment or of the system."""
    return shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")


def forgotten(file: str, name: str) -> list[str]:
    """What is wrong with a list of shipped files, a sentence an entry."""
    wanted, found = packaging.shipped()[file, name], packaging.listed((ROOT / file).read_text(), name)
    hint = "or run `make packaging`"
    missing = [f'{file} lacks {entry}: add the line "  {entry}" to {name}, {hint}' for entry in wanted]
    sentences = [line for entry, line in zip(wanted, missing, strict=True) if entry not in found]
    sentences += [f"{file} ships {entry}, which is not there: take it out of {name}, {hint}" for entry in found
                  if entry not in wanted]  # fmt: skip
    return sentences or ([] if found == wanted else [f"{name} of {file} is not sorted, or names a file twice; {hint}"])


@pytest.mark.parametrize(("file", "name"), packaging.shipped(), ids=lambda part: part)
def test_cmake_lists_every_file_once_and_nothing_else(file: str, name: str) -> None:
    assert not forgotten(file, name), "\n".join(forgotten(file, name))


def test_a_file_that_comes_or_goes_is_noticed(tmp_path: Path) -> None:
    for folder in ("ICHSegmentation", "ICHSegmentationLib", "Resources/ensemble"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ICHSegmentationLib" / "new").mkdir()
    (tmp_path / "ICHSegmentationLib" / "__pycache__").mkdir()
    for file in ("new/part.py", "__pycache__/old.pyc", "CMakeLists.txt", "a.py"):
        (tmp_path / "ICHSegmentationLib" / file).write_text("")
    found = packaging.shipped(tmp_path)["ICHSegmentationLib/CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS"]
    assert found == ["a.py", "new/part.py"]
    text = packaging.with_list("set(ONE\n  old.py\n  )\nset(TWO\n  )\n", "ONE", found)
    assert text == "set(ONE\n  a.py\n  new/part.py\n  )\nset(TWO\n  )\n"


def test_all_files_are_as_make_packaging_writes_them() -> None:
    changed = [file for file, text in packaging.written().items() if (ROOT / file).read_text() != text]
    assert not changed, f"run `make packaging`: {changed} would change"


def test_the_catalogue_entry_has_what_its_schema_wants_and_nothing_else() -> None:
    assert {"$schema", "category", "scm_url"} <= set(ENTRY) <= set(SCHEMA)
    assert all(type(value) is SCHEMA[key] for key, value in ENTRY.items())
    assert ENTRY["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert (ENTRY["category"], ENTRY["scm_type"]) == ("Segmentation", "git")
    assert 1 <= ENTRY["tier"] <= 5


def test_the_repository_is_named_as_the_catalogue_wants() -> None:
    assert re.fullmatch(r"https://[\w.-]+/[\w-]+/\w+", ENTRY["scm_url"])
    assert ENTRY["scm_url"].rsplit("/", 1)[1] == "SlicerICHSegmentation"


def extension(name: str) -> str:
    """A value of the root CMakeLists.txt, found as the catalogue's checker finds it."""
    found = re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"[ ]*\)', CMAKE)
    assert found is not None, f"EXTENSION_{name} is not set to a text in CMakeLists.txt"
    return found[1]


def test_the_project_has_the_name_of_its_entry_and_the_same_facts() -> None:
    found = re.search(r"project\s*\(\s*([^\s)]+)", CMAKE)
    assert found is not None
    assert (ROOT / f"{found[1]}.json").is_file()
    assert extension("CATEGORY") == ENTRY["category"]
    assert extension("DEPENDS").split() == ENTRY["build_dependencies"]
    assert extension("HOMEPAGE") == ENTRY["scm_url"]
    assert len(re.findall(r"[.](?:\s|$)", extension("DESCRIPTION"))) <= 2  # one or two sentences


def test_icon_and_screenshots_are_pictures_of_this_repository() -> None:
    for address in (extension("ICONURL"), *extension("SCREENSHOTURLS").split()):
        start, _, path = address.partition(f"/raw/{ENTRY['scm_revision']}/")
        assert start == ENTRY["scm_url"]
        with Image.open(ROOT / path) as picture:
            assert picture.format == "PNG"
        assert (ROOT / path).stat().st_size < 300_000


def test_the_icon_can_be_told_at_16_pixels() -> None:
    icon = Image.open(ROOT / "ICHSegmentation/Resources/Icons/ICHSegmentation.png")
    assert (icon.size, icon.mode) == ((128, 128), "RGBA")
    small = np.asarray(icon.resize((16, 16), Image.Resampling.LANCZOS)).astype(int)
    opaque = small[..., 3] > 200
    red = opaque & (small[..., 0] - small[..., 2] > 120)
    pale = opaque & (small[..., :3].min(axis=-1) > 200)
    assert 8 <= red.sum() <= 60  # the bleed
    assert pale.sum() >= 20  # the skull
    assert not opaque[0, 0]


def test_licence_and_readme_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text()[:300]
    readme = (ROOT / "README.md").read_text()
    assert readme.startswith("# ICHSegmentation")
    assert "doi.org" in readme
    assert re.search(r"!\[[^\]]+\]\(Resources/screenshots/", readme)


def test_the_repository_is_small_enough_for_the_catalogue() -> None:
    """With its history: every revision of the weights counts."""
    counted = subprocess.run(["git", "count-objects", "-v"], cwd=ROOT, capture_output=True, text=True)
    if counted.returncode != 0:
        pytest.skip("this is no git repository, so its history cannot be weighed")
    sizes = dict(line.split(": ") for line in counted.stdout.splitlines())
    history_mb = (int(sizes["size"]) + int(sizes["size-pack"])) * 1024 / 1e6
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    files_mb = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
    assert history_mb + files_mb < LARGEST_REPOSITORY_MB


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules of an installed extension, in a place with a space and a letter beyond ASCII."""
    program = cmake()
    if program is None:
        pytest.skip("cmake is not installed: pip install cmake")
    folder = tmp_path_factory.mktemp("Programme für 3D Slicer")
    nothing = "/bin/true" if sys.platform != "win32" else "cmd.exe"  # neither compiler nor make is used
    compilers = [
        f"-DCMAKE_{language}_COMPILER{end}" for language in ("C", "CXX") for end in (f"={nothing}", "_FORCED=1")
    ]
    stand_ins = f"-DSlicer_DIR={ROOT / 'Testing' / 'slicer' / 'cmake'}"
    configure = [program, "-S", ROOT, "-B", folder / "build", "-G", "Unix Makefiles", stand_ins, *compilers]
    for command in (
        [*configure, f"-DCMAKE_MAKE_PROGRAM={nothing}"],
        [program, "--install", folder / "build", "--prefix", folder / "extension"],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "CMake Warning" not in done.stderr
    assert (folder / "build" / "tests.txt").read_text() == "ICHSegmentation.py\n"
    shutil.rmtree(folder / "build")
    (modules,) = (folder / "extension" / "lib").glob("Slicer-*/qt-scripted-modules")
    return modules


def test_an_installed_extension_holds_the_shipped_files_and_no_other(installed: Path) -> None:
    wanted = {
        *packaging.files_under(ROOT / "ICHSegmentation"),
        *(f"ICHSegmentationLib/{name}" for name in packaging.files_under(ROOT / "ICHSegmentationLib")),
        *(f"ICHSegmentationLib/Resources/ensemble/{path.name}" for path in (ROOT / "Resources/ensemble").iterdir()),
        "ICHSegmentationLib/Resources/MODEL_CARD.md",
    }
    assert {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()} == wanted


WHOLE_WAY = """
import importlib, json, pkgutil, sys, time
sys.path.insert(0, sys.argv[1])
import ICHSegmentationLib
assert ICHSegmentationLib.__file__.startswith(sys.argv[1]), ICHSegmentationLib.__file__
names = [module.name for module in pkgutil.walk_packages(ICHSegmentationLib.__path__, "ICHSegmentationLib.")]
slicers_own = ("ICHSegmentationLib.panel.", "ICHSegmentationLib.mrml", "ICHSegmentationLib.__main__")
for name in names:
    if not name.startswith(slicers_own):
        importlib.import_module(name)
assert "slicer" not in sys.modules
from ICHSegmentationLib.worker_process import WorkerProcess
worker = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
worker.ask({"scan": sys.argv[2], "out": sys.argv[3], "options": {"device": "cpu", "members": 1}})
until, heard = time.monotonic() + 120, []
while not {"result", "error", "ended"} & {message["message"] for message in heard} and time.monotonic() < until:
    heard += worker.messages()
    time.sleep(0.02)
worker.end()
print(json.dumps([len(names), heard[-1]]))
"""


def test_an_installed_library_runs_its_worker_with_its_own_ensemble(installed: Path, tmp_path: Path) -> None:
    scan, out = write_scan(tmp_path), tmp_path / "résultats"
    command = [sys.executable, "-B", "-c", WHOLE_WAY, installed, scan, out]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, last = json.loads(done.stdout.splitlines()[-1])
    assert modules > 40
    assert last["message"] == "result", last
    manifest = json.loads((ROOT / "Resources/ensemble/bundle.json").read_text())
    assert last["statistics"]["bundle"]["name"] == manifest["name"]
    assert (out / "overview.png").is_file()
