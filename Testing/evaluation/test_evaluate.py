"""`ich evaluate` as its user meets it, used rightly and wrongly."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.evaluation.evaluate import evaluate, to_json
from ICHSegmentationLib.evaluation.pairs import SUBTYPES, find_pairs, labels_in
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.volume import as_volume

pytest.importorskip("surface_distance", reason="surface-distance is not installed (pip install '.[evaluate]')")

SPACING = (2.0, 2.0, 5.0)
FILES = {"evaluation_cases.csv", "evaluation.json", "evaluation_bland_altman.png", "evaluation_dice_by_volume.png"}


def block(low: int, high: int, label: int = 1) -> np.ndarray:
    labels = np.zeros((24, 20, 8), np.uint8)
    labels[low:high, 4:14, 2:6] = label
    return labels


def write(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = as_volume(array, spacing)
    write_image_file(path, array, volume.affine, {})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three cases: perfect, half, and an empty reference with a false alarm; a worse second system; scans."""
    cases = {"perfect": (block(2, 10), block(2, 10)), "half": (block(2, 10), block(6, 14)),
             "none": (block(0, 0), block(3, 4))}  # fmt: skip
    for name, (reference, prediction) in cases.items():
        write(tmp_path / "ref" / f"{name}.nii.gz", reference)
        write(tmp_path / "pred" / f"{name}.nii.gz", prediction)
        write(tmp_path / "other" / f"{name}.nrrd", block(3, 8))
        write(tmp_path / "images" / f"{name}_0000.nii.gz", np.full(reference.shape, 35, np.int16))
    return tmp_path


def run(study: Path, *more: str) -> int:
    arguments = ["evaluate", "--pred", str(study / "pred"), "--ref", str(study / "ref"), "--out", str(study / "out")]
    return main([*arguments, *more])


def test_table_csv_json_and_pictures_are_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--other", str(study / "other"), "--images", str(study / "images"))
    assert run(study, *more) == 0
    assert {path.name for path in (study / "out").iterdir()} == {*FILES, "evaluation_overlays.png"}
    rows = {
        row["case"]: row for row in csv.DictReader((study / "out" / "evaluation_cases.csv").read_text().splitlines())
    }
    assert float(rows["perfect"]["dice"]) == 1
    assert float(rows["half"]["dice"]) == pytest.approx(0.5, abs=1e-6)
    assert (rows["none"]["hausdorff_mm"], rows["none"]["relative_volume_difference"]) == ("inf", "nan")
    assert float(rows["half"]["reference_ml"]) == pytest.approx(8 * 10 * 4 * 0.02)
    values = json.loads((study / "out" / "evaluation.json").read_text())
    assert values["overall"]["metrics"]["hausdorff_mm"]["mean"] is None
    assert values["overall"]["metrics"]["hausdorff_mm"]["infinite"] == 1
    assert values["overall"]["metrics"]["relative_volume_difference"]["undefined"] == 1
    assert values["overall"]["lesion_sensitivity"] == 1
    assert values["minus_other_system"]["dice"]["pairs"] == 3
    printed = capsys.readouterr().out
    for said in ("3 cases", "DSC", "NSD", "limits of agreement", "no bleed", "p = ", "Research use only"):
        assert said in printed
    assert all(row["note"].startswith("Research use only") for row in rows.values())


def test_predictions_in_case_folders_are_found_and_those_without_reference_named(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in ("perfect", "half", "none"):
        (study / "pred" / case).mkdir()
        (study / "pred" / f"{case}.nii.gz").rename(study / "pred" / case / "segmentation.nii.gz")
    write(study / "pred" / "extra.nii.gz", block(0, 3))
    assert run(study) == 0
    assert "left out: extra" in capsys.readouterr().out
    assert {path.name for path in (study / "out").iterdir()} == FILES


def test_subtypes_count_as_bleed_and_make_strata(study: Path) -> None:
    labels = block(2, 10, label=4)
    labels[16:18, 4:14, 2:6] = 1  # a smaller parenchymal bleed that the prediction misses
    write(study / "ref" / "perfect.nii.gz", labels)
    found = evaluate(find_pairs(study / "pred", study / "ref"))
    assert list(found.by_subtype) == ["IPH", "SDH"]
    assert found.by_subtype["SDH"].metrics["dice"].mean == pytest.approx(2 * 320 / (320 + 400), abs=1e-6)
    assert found.subtype_found == {"IPH": pytest.approx(160 / 400), "SDH": 1.0}
    assert to_json(found)["by_main_subtype"]["SDH"]["cases"] == 1


def test_references_that_say_bleed_only_make_no_strata_of_subtypes(study: Path) -> None:
    assert evaluate(find_pairs(study / "pred", study / "ref")).by_subtype == {}


def test_ignored_voxels_count_for_nothing_in_figures_and_pictures(study: Path) -> None:
    labels = block(2, 10)
    labels[10:14] = 9  # where half of the prediction "half" lies
    write(study / "ref" / "half.nii.gz", labels)
    assert run(study, "--ignore", "9", "--images", str(study / "images")) == 0
    rows = csv.DictReader((study / "out" / "evaluation_cases.csv").read_text().splitlines())
    half = next(row for row in rows if row["case"] == "half")
    assert float(half["predicted_ml"]) == pytest.approx(4 * 10 * 4 * 0.02)
    assert (study / "out" / "evaluation_overlays.png").stat().st_size > 1000


def named(study: Path, labels: dict[str, object]) -> None:
    (study / "dataset.json").write_text(json.dumps({"labels": labels}))


def test_a_dataset_json_beside_the_references_names_their_labels(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = block(2, 10, label=7)
    labels[16:18, 4:14, 2:6], labels[20:22] = 3, 8
    write(study / "ref" / "perfect.nii.gz", labels)
    named(study, {"background": 0, "bleed": 1, "epidural": 3, "cortical": 7, "ignore": 8})
    assert run(study) == 0
    assert "epidural" in capsys.readouterr().out
    values = json.loads((study / "out" / "evaluation.json").read_text())
    assert values["share_of_subtype_found"] == {"bleed": 0.5, "epidural": 0.0, "cortical": 1.0}
    assert (study / "out" / "evaluation_cases.csv").read_text().splitlines()[0].count("epidural") == 2
    assert run(study, "--ignore", "7", "--overwrite") == 2
    assert "ignores label 8, --ignore names 7" in capsys.readouterr().err


def test_parts_of_regions_are_named_by_the_region_of_their_own(tmp_path: Path) -> None:
    named(tmp_path, {"background": 0, "bleed": [1, 2, 3], "ventricles": [2], "rim": 3})
    assert labels_in(tmp_path).kinds == {1: "label 1", 2: "ventricles", 3: "rim"}


def test_a_negative_seed_is_one_sentence(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(study, "--seed", "-1") == 2
    assert "seed must be 0 or more; found -1" in capsys.readouterr().err


def test_the_labels_of_subtypes_are_the_simulators() -> None:
    assert {int(kind): kind.name for kind in Subtype} == SUBTYPES


def test_the_same_seed_gives_the_same_summary(study: Path) -> None:
    pairs = find_pairs(study / "pred", study / "ref")
    assert to_json(evaluate(pairs, seed=4)) == to_json(evaluate(pairs, seed=4))


def remove_one(study: Path) -> None:
    (study / "pred" / "half.nii.gz").unlink()


def other_spacing(study: Path) -> None:
    write(study / "pred" / "half.nii.gz", block(0, 3), (1.0, 2.0, 5.0))


def other_shape(study: Path) -> None:
    write(study / "pred" / "half.nii.gz", block(0, 3)[:20])


def mirrored(study: Path) -> None:
    volume = as_volume(block(0, 3), SPACING)
    affine = volume.affine.copy()
    affine[0] *= -1
    write_image_file(study / "pred" / "half.nii.gz", volume.hu.astype(np.uint8), affine, {})


def a_probability(study: Path) -> None:
    write(study / "pred" / "half.nii.gz", block(0, 3) * np.float32(0.7))


def two_of_a_case(study: Path) -> None:
    write(study / "pred" / "half.nrrd", block(0, 3))


def no_references(study: Path) -> None:
    for path in (study / "ref").iterdir():
        path.unlink()


def cut_off(study: Path) -> None:
    path = study / "pred" / "half.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove_one, "no prediction for case half"),
        (other_spacing, "24x20x8 voxels of 1x2x5 mm, axes RAS"),
        (other_shape, "20x20x8 voxels of 2x2x5 mm"),
        (mirrored, "axes LAS"),
        (a_probability, "is no mask: it holds 0.7"),
        (two_of_a_case, "two files for case half"),
        (no_references, "holds no reference masks"),
        (cut_off, "half.nii.gz"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence_and_writes_nothing(
    study: Path, capsys: pytest.CaptureFixture[str], spoil: object, said: str
) -> None:
    assert callable(spoil)
    spoil(study)
    assert run(study) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (study / "out").exists()


def test_a_missing_scan_or_folder_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "images" / "half_0000.nii.gz").unlink()
    assert run(study, "--images", str(study / "images")) == 2
    assert "no scan for case half" in capsys.readouterr().err
    assert run(study, "--other", str(study / "nowhere")) == 2
    assert "no folder" in capsys.readouterr().err
