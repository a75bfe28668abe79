"""What is installed, told without loading it. (The panel's part: slicer/test_panel_setup.py.)"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ICHSegmentationLib.diagnosis import diagnosis
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.installation import (
    installed_version,
    is_met,
    look,
    offline_arguments,
    read_requirements,
    set_up_lines,
)

ROOT = Path(__file__).resolve().parents[1]
RANGES = ["numpy>=1.24", "torch>=2.4", "SimpleITK>=2.4"]


def versions(**told: str | None) -> dict[str, str | None]:
    return {"numpy": "2.0", "torch": "2.5", "SimpleITK": "2.5", **told}


def test_the_panels_ranges_are_those_of_the_library() -> None:
    listed = re.search(r"^dependencies = (\[.*?^\])", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert listed is not None
    expected = json.loads(re.sub(r",\s*\]", "]", listed[1]))
    assert read_requirements(ROOT / "ICHSegmentation" / "Resources" / "requirements.txt") == expected


@pytest.mark.parametrize(
    ("version", "met"),
    [
        ("2.4", True),
        ("2.4.0rc2", True),
        ("2.10.1+cpu", True),
        ("3", True),
        ("2.3.9", False),
        ("?", True),
        (None, False),
    ],
)
def test_a_version_is_compared_by_its_numbers(version: str | None, met: bool) -> None:
    assert is_met("torch>=2.4", version) is met


def test_what_is_missing_is_told_torch_first_and_slicers_own_is_left_to_slicer() -> None:
    found = look(RANGES, None, versions(numpy="1.0", torch=None, SimpleITK="2.1").get)
    assert found.missing == ["torch>=2.4", "numpy>=1.24", "SimpleITK>=2.4"]
    assert found.to_install == ["torch>=2.4", "numpy>=1.24"]
    assert found.why_not == "PyTorch is not installed; open Set-up and click Install."
    assert look(RANGES, None, versions().get).why_not == ""


def test_an_old_torch_is_not_called_missing() -> None:
    found = look(RANGES, None, versions(torch="2.1").get)
    assert set_up_lines(found, "cpu")[0] == "PyTorch: 2.1 (too old: torch>=2.4 is wanted)"
    assert found.why_not.startswith("Missing or too old: torch>=2.4")


def test_a_damaged_ensemble_is_told(tmp_path: Path) -> None:
    found = look(RANGES, tmp_path, versions().get)
    assert found.bundle is None
    assert found.why_not.endswith("has no readable bundle.json.")
    assert "no readable bundle.json" in diagnosis(found, "cpu", "Slicer 5.10")


def test_looking_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from ICHSegmentationLib.installation import look; assert not look(['torch>=2.4'], None).why_not; "
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_packages_tell_their_versions() -> None:
    assert installed_version("pytest") == pytest.__version__
    assert installed_version("json") == "?"  # there, without saying which
    assert installed_version("no_package_of_this_name") is None


def test_a_requirement_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# fine\ntorch>=2.4\ne3nn==0.5\n")
    with pytest.raises(InputError, match=r"says 'e3nn==0\.5'"):
        read_requirements(tmp_path / "requirements.txt")


def test_offline_arguments_name_no_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no wheels"):
        offline_arguments(tmp_path, RANGES)
    (tmp_path / "numpy-2.0-py3-none-any.whl").touch()
    assert offline_arguments(tmp_path, RANGES)[:3] == ["--no-index", "--find-links", str(tmp_path)]
