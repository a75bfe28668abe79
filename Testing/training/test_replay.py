"""A stored case is simulated again from its JSON, or refused in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.procedural import procedural_labels
from ICHSegmentationLib.training.pool import read_case
from ICHSegmentationLib.volume import as_volume


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a label map in `maps` and one case made of it in `cases`."""
    folder = tmp_path_factory.mktemp("simulated")
    labels = as_volume(procedural_labels(0, 4.0), (4.0, 4.0, 4.0))
    (folder / "maps").mkdir()
    write_image_file(folder / "maps" / "head.nii.gz", labels.hu.astype(np.int16), labels.affine, {})
    assert main(["simulate", str(folder / "maps"), "--out", str(folder / "cases"), "--cases", "1"]) == 0
    return folder


def again(simulated: Path, case_json: Path, out: Path, maps: str = "maps") -> int:
    return main(["simulate", str(simulated / maps), "--replay", str(case_json), "--out", str(out)])


def test_a_case_is_replayed_to_the_last_bit(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = simulated / "cases" / "case_000000"
    assert again(simulated, stored / "case.json", tmp_path) == 0
    assert "The same to the last bit" in capsys.readouterr().out
    one, two = read_case(stored), read_case(tmp_path / "case_000000")
    assert np.array_equal(one.hu, two.hu)
    assert np.array_equal(one.label, two.label)
    assert (stored / "case.json").read_text() == (tmp_path / "case_000000" / "case.json").read_text()


def test_a_change_of_one_parameter_shows_and_is_told(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = simulated / "cases" / "case_000000"
    changed = tmp_path / "case_000000"
    changed.mkdir()
    for name in ("hu.npy", "label.npy"):
        (changed / name).write_bytes((stored / name).read_bytes())
    values = json.loads((stored / "case.json").read_text())
    values["parameters"]["protocol"]["noise_hu"] += 5
    (changed / "case.json").write_text(json.dumps(values))
    assert again(simulated, changed / "case.json", tmp_path / "out") == 0
    assert "NOT the same" in capsys.readouterr().out


def test_a_replay_onto_what_is_there_is_refused(simulated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = simulated / "cases" / "case_000000"
    assert again(simulated, stored / "case.json", simulated / "cases") == 2
    assert "is there already" in capsys.readouterr().err


def test_what_is_no_case_or_of_other_heads_is_refused(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = simulated / "cases" / "case_000000" / "case.json"
    (tmp_path / "words.json").write_text("words")
    (tmp_path / "imported.json").write_text('{"spacing_mm": [1, 1, 1]}')
    values = json.loads(stored.read_text())
    values["parameters"]["anatomy"] = 7
    (tmp_path / "head7.json").write_text(json.dumps(values))
    (simulated / "others").mkdir()
    (simulated / "others" / "someone.nii.gz").write_bytes((simulated / "maps" / "head.nii.gz").read_bytes())
    for file, maps, says in (
        (tmp_path / "none.json", "maps", "cannot be read as the case.json"),
        (tmp_path / "words.json", "maps", "cannot be read as the case.json"),
        (tmp_path / "imported.json", "maps", "has no entry 'parameters'"),
        (tmp_path / "head7.json", "maps", "head number 7, counted from 0; .* holds 1 label maps"),
        (stored, "others", "was simulated from the label maps head.nii.gz; found someone.nii.gz"),
        (stored, "nowhere", "holds no label maps"),
    ):
        assert again(simulated, file, tmp_path / "out", maps) == 2
        assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_case_of_another_edition_is_refused(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((simulated / "cases" / "case_000000" / "case.json").read_text())
    older = tmp_path / "case_000000" / "case.json"
    older.parent.mkdir()
    for edition in (values["simulator_edition"] - 1, None):
        values["simulator_edition"] = edition
        older.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
        assert again(simulated, older, tmp_path / "out") == 2
        assert "another edition of the simulator" in capsys.readouterr().err
    assert not (tmp_path / "out" / "case_000000").exists()
