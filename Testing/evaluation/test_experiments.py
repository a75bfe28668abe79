"""The experiments by their laws, with systems whose answers are known."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball
from stand_ins import CATALOGUE, VARIED_CATALOGUE, Settings, Threshold, UpperHalf, scan_with_ball

from ICHSegmentationLib.baselines.runs import RUN, USED
from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import SIMULATED, LabelledScan, write_nnunet_raw
from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import CATALOGUE as PAPERS
from ICHSegmentationLib.evaluation.comparison import Standing
from ICHSegmentationLib.evaluation.evaluate import evaluate_case, summary_of
from ICHSegmentationLib.evaluation.experiments.calibration import calibration_experiment, head_mask, reliability
from ICHSegmentationLib.evaluation.experiments.commands import steerable_settings
from ICHSegmentationLib.evaluation.experiments.kept import KeptTurns
from ICHSegmentationLib.evaluation.experiments.rotation import (
    Turn,
    largest_change,
    mean_dice,
    rotation_experiment,
    rotation_figure,
)
from ICHSegmentationLib.evaluation.experiments.sample_size import powers_of_two
from ICHSegmentationLib.evaluation.experiments.spacing import at_spacing, spacing_experiment
from ICHSegmentationLib.evaluation.experiments.trained import PREDICTION_JOB, held_out_pairs, labelled_pairs, scans_of
from ICHSegmentationLib.evaluation.experiments.turning import (
    PLANES,
    TurnedHead,
    TurnedScan,
    cube_side_mm,
    in_cubes,
    in_disc,
    quarter_turned,
    resampling_weights,
    rotated,
)
from ICHSegmentationLib.evaluation.experiments.variants import RATIOS, irreps_variants, kernel_figure, kernel_variants
from ICHSegmentationLib.evaluation.jobs import Spent
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.evaluation.options import data_in_words
from ICHSegmentationLib.evaluation.pairs import OUR_LABELS
from ICHSegmentationLib.evaluation.small_set import DESCRIPTION, SmallSet, simulated_scan, write_small_set
from ICHSegmentationLib.geometry import PADDING_HU, Volume
from ICHSegmentationLib.inference import volume_of
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.volume import as_volume

SYSTEMS = {"everywhere": Threshold(Settings()), "upper": UpperHalf(Settings())}
SCAN = scan_with_ball("ball")


def anisotropic() -> LabelledScan:
    volume = head_with_ball((2.0, 3.0, 6.0), extent_mm=(160, 180, 150))
    return LabelledScan("head", volume, (volume.hu == 70).astype(np.uint8))


@pytest.mark.parametrize("axes", PLANES.values())
def test_four_quarter_turns_are_none_and_move_voxels_only(axes: tuple[int, int]) -> None:
    scan = anisotropic()
    turned = scan
    for _ in range(4):
        turned = rotated(turned, axes, 90)
        assert np.array_equal(np.sort(turned.volume.hu, axis=None), np.sort(scan.volume.hu, axis=None))
        assert volume_of(turned.label, turned.volume) == pytest.approx(volume_of(scan.label, scan.volume))
    assert np.array_equal(turned.volume.hu, scan.volume.hu)
    assert np.array_equal(turned.label, scan.label)
    assert np.allclose(turned.volume.affine, scan.volume.affine)


@pytest.mark.parametrize("axes", PLANES.values())
def test_a_quarter_turn_keeps_the_middle_and_swaps_the_sides_of_voxels(axes: tuple[int, int]) -> None:
    scan = anisotropic()
    turned = quarter_turned(scan, axes, 1)
    spacing = list(scan.volume.spacing_mm)
    spacing[axes[0]], spacing[axes[1]] = spacing[axes[1]], spacing[axes[0]]
    assert turned.volume.spacing_mm == pytest.approx(tuple(spacing))
    middles = [v.to_ras_mm((np.array([v.hu.shape]) - 1) / 2)[0] for v in (scan.volume, turned.volume)]
    assert middles[0] == pytest.approx(middles[1])


@pytest.mark.parametrize("axes", PLANES.values())
def test_turning_by_resampling_goes_the_same_way_as_moving_voxels(axes: tuple[int, int]) -> None:
    nearly, exactly = rotated(SCAN, axes, 89.999), rotated(SCAN, axes, 90.0)
    assert dice(nearly.label > 0, exactly.label > 0) > 0.99
    assert dice(nearly.label > 0, SCAN.label > 0) < 0.9  # it did turn
    there_and_back = rotated(rotated(SCAN, axes, 30), axes, -30)
    assert dice(there_and_back.label > 0, SCAN.label > 0) > 0.93


def test_a_system_blind_to_place_keeps_its_dice_and_one_that_is_not_loses_it() -> None:
    turns = rotation_experiment(SYSTEMS, [TurnedScan(SCAN)], [0.0, 45.0, 90.0, 180.0])
    assert {turn.plane for turn in turns} == set(PLANES)
    assert len(turns) == 2 * 3 * 4
    assert largest_change(turns, "everywhere", between_quarters=False) == 0
    assert abs(largest_change(turns, "everywhere", between_quarters=True)) < 1e-6
    assert mean_dice(turns, "upper", "axial", 0.0) == pytest.approx(1, abs=1e-4)
    assert mean_dice(turns, "upper", "axial", 180.0) < 0.3
    assert mean_dice(turns, "upper", "coronal", 180.0) == pytest.approx(1, abs=1e-4)  # turns about y
    assert largest_change(turns, "upper", between_quarters=False) < -0.7
    quarters = rotation_experiment(SYSTEMS, [TurnedScan(SCAN)], [90.0])
    assert np.isnan(largest_change(quarters, "upper", between_quarters=True))


def test_the_figure_of_turns_shows_dice_and_below_its_change_beside_what_is_aimed_at() -> None:
    turns = rotation_experiment(SYSTEMS, [TurnedScan(SCAN)], [0.0, 90.0, 180.0])
    panels = rotation_figure(turns, "").axes
    assert len(panels) == 2 * len(PLANES)
    for plane, upper, lower in zip(PLANES, panels[::2], panels[1::2], strict=True):
        for system, dice_line, change_line in zip(SYSTEMS, upper.lines, lower.lines, strict=True):
            means = [mean_dice(turns, system, plane, angle) for angle in (0.0, 90.0, 180.0)]
            assert list(dice_line.get_ydata()) == means
            assert list(change_line.get_ydata()) == pytest.approx([mean - means[0] for mean in means])
    assert {line.get_marker() for line in panels[0].lines} == {"o", "s"}


@pytest.mark.parametrize("axes", PLANES.values())
def test_a_turned_view_shows_the_same_part_of_the_patient_with_the_same_noise(axes: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 10, (40, 30, 20)).astype(np.float32)
    scan = in_disc(LabelledScan("noise", as_volume(noise, (2.0, 3.0, 6.0)), np.ones(noise.shape, np.uint8)), axes)
    assert (scan.volume.hu[scan.label == 0] == PADDING_HU).all()
    assert np.array_equal(scan.volume.hu[scan.label > 0], noise[scan.label > 0])
    turned = rotated(scan, axes, 37)
    assert dice(turned.label > 0, scan.label > 0) > 0.95
    assert turned.volume.hu[turned.label > 0].std() == pytest.approx(10, rel=0.03)
    assert (turned.volume.hu[turned.label == 0] == PADDING_HU).all()


SMALL = SmallSet(training=1, tests=1, spacing_mm=6.0, voxels=32)
QUIET = dataclasses.replace(SMALL, noise_hu=0.0)


def test_a_simulated_head_is_turned_before_it_is_scanned() -> None:
    scan = simulated_scan(SMALL, 1)
    as_it_lies, between = TurnedHead(scan, SMALL).views(PLANES["sagittal"], (0.0, 30.0))
    assert np.array_equal(as_it_lies.volume.hu, scan.volume.hu)
    assert np.array_equal(as_it_lies.label, scan.label)
    assert np.array_equal(between.volume.hu == PADDING_HU, scan.volume.hu == PADDING_HU)  # the field stays as it is
    assert dice(between.label > 0, scan.label > 0) < 0.9
    assert volume_of(between.label, between.volume) == pytest.approx(volume_of(scan.label, scan.volume), rel=0.1)
    (quiet,) = TurnedHead(simulated_scan(QUIET, 1), QUIET).views(PLANES["sagittal"], [30.0])
    inside = (quiet.volume.hu > -900) & (between.volume.hu > -900)
    noise = (between.volume.hu - quiet.volume.hu)[inside]
    assert noise.std() == pytest.approx(SMALL.noise_hu, rel=0.05)  # as in a scan that is not turned


def test_turning_a_head_or_its_scan_is_the_same_by_quarter_turns_but_for_noise() -> None:
    scan = simulated_scan(QUIET, 1)
    patient = TurnedHead(scan, QUIET)
    for axes in PLANES.values():
        for angle, head in zip((90.0, 180.0), patient.views(axes, (90.0, 180.0)), strict=True):
            voxels = rotated(scan, axes, angle)
            assert np.array_equal(head.volume.hu, voxels.volume.hu)
            assert np.array_equal(head.label, voxels.label)
            assert np.allclose(head.volume.affine, voxels.volume.affine)


def test_a_scan_of_another_version_cannot_be_scanned_again() -> None:
    with pytest.raises(InputError, match="not the head that this version simulates"):
        next(TurnedHead(simulated_scan(QUIET, 1), SMALL).views(PLANES["axial"], [0.0]))
    with pytest.raises(InputError, match="ball is no scan of a simulated set; they are called simulated_000"):
        next(TurnedHead(SCAN, SMALL).views(PLANES["axial"], [0.0]))


def test_thick_slices_become_cubes_about_the_same_middle_and_of_the_same_volume() -> None:
    scan = anisotropic()
    cubes = in_cubes(scan)
    side = cube_side_mm(scan.volume)
    assert cubes.volume.spacing_mm == pytest.approx((side,) * 3, rel=1e-9)
    assert cubes.volume.hu.size == pytest.approx(scan.volume.hu.size, rel=0.05)
    middles = [v.to_ras_mm((np.array([v.hu.shape]) - 1) / 2)[0] for v in (scan.volume, cubes.volume)]
    assert middles[0] == pytest.approx(middles[1])
    assert volume_of(cubes.label, cubes.volume) == pytest.approx(volume_of(scan.label, scan.volume), rel=0.05)
    assert cubes.volume.hu.mean() == pytest.approx(scan.volume.hu.mean(), abs=10)
    assert in_cubes(SCAN) is SCAN


def test_a_slope_stays_one_whether_voxels_grow_or_shrink() -> None:
    for new in (0.7, 1.0, 2.6):
        weights = resampling_weights(21, 1.0, new)
        places = (np.arange(len(weights)) - (len(weights) - 1) / 2) * new + 10
        assert len(weights) == round(21 / new)
        assert weights.sum(axis=1) == pytest.approx(1)
        assert weights[1:-1] @ np.arange(21.0) == pytest.approx(places[1:-1], abs=0.04)


def test_turns_are_measured_once_and_again_only_for_another_run_or_scan_or_other_angles(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure() -> list[Turn]:
        measured.append("once more")
        return [Turn("upper", "axial", 0.0, "ball", 0.75), Turn("upper", "axial", 90.0, "ball", float("nan"))]

    def ask(scan: LabelledScan = SCAN, angles: tuple[float, ...] = (0.0, 90.0)) -> list[Turn]:
        return KeptTurns(tmp_path / "turns", tmp_path / "runs", angles, lambda news: None)(
            "upper", TurnedScan(scan), measure
        )

    write_json(tmp_path / "runs" / "upper" / "run" / RUN, {})
    assert str(ask()) == str(ask()) == str(measure())  # as text, in which what is not a number equals itself
    assert len(measured) == 2
    ask(angles=(0.0, 45.0, 90.0))
    ask(scan_with_ball("ball", seed=1))
    write_json(tmp_path / "runs" / "upper" / "run" / USED, {"seconds": {"0": 9.0}})
    ask(scan_with_ball("ball", seed=1))
    assert len(measured) == 5


def test_an_experiment_that_was_stopped_goes_on_where_it_was(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "out"
    assert main(["compare", "--out", str(runs), "--data", str(raw), "--catalogue", CATALOGUE, "--device", "cpu"]) == 0
    command = ["experiment", "rotation", "--runs", str(runs), "--data", str(raw), "--step", "90", "--device", "cpu"]
    command += ["--out", str(tmp_path / "turned")]
    real = UpperHalf.mask

    def stopped(self: UpperHalf, volume: Volume) -> np.ndarray:
        raise InputError("stopped")

    monkeypatch.setattr(UpperHalf, "mask", stopped)
    assert main(command) == 2
    assert [path.name.split("_")[0] for path in (tmp_path / "turned.turns").iterdir()] == ["everywhere"]
    assert not (tmp_path / "turned").exists()
    monkeypatch.setattr(UpperHalf, "mask", real)
    capsys.readouterr()
    assert main(command) == 0
    assert "everywhere: " not in capsys.readouterr().err
    assert json.loads((tmp_path / "turned" / "experiment_rotation.json").read_text())["turns"]
    assert not (tmp_path / "turned.turns").exists()


class UpperSlices(Threshold):
    """Sees only the upper half of the slices of the grid that networks see."""

    def probability(self, volume: Volume) -> np.ndarray:
        grid = RegularGrid(volume)
        seen = np.zeros(grid.size, np.float32)
        seen[:, :, grid.size[2] // 2 :] = 1
        return super().probability(volume) * grid.back(seen)


def test_turns_of_thick_slices_are_not_undone_by_stacking_them_again() -> None:
    coarse = at_spacing(scan_with_ball("high", middle=(0.0, 0.0, 5.0)), (3.0, 3.0, 9.0))
    system = {"slices": UpperSlices(Settings())}
    views = [quarter_turned(coarse, PLANES["coronal"], quarters) for quarters in range(4)]
    found = [dice(system["slices"].mask(view.volume), view.label > 0) for view in views]
    assert sorted(found[1::2]) == pytest.approx(sorted(found[::2]), abs=1e-3)  # as if it lay up or down, never aside
    turns = rotation_experiment(system, [TurnedScan(coarse)], [90.0], ["coronal"])
    assert turns[0].dice > 0.85
    assert turns[1].dice == pytest.approx(2 / 3, abs=0.1)  # half of the ball


def test_scans_to_judge_on_are_those_that_were_held_out(raw: Path, tmp_path: Path) -> None:
    job = tmp_path / "runs" / "upper" / PREDICTION_JOB
    for jobs in ([], [job]):
        with pytest.raises(InputError, match="nothing tells which of its cases the systems were not trained on"):
            held_out_pairs(raw, jobs)
    write_json(job, {"scans": {"case_1": "x", "case_3": "x"}})
    other = tmp_path / "runs" / "everywhere" / PREDICTION_JOB
    write_json(other, {"scans": {"case_3": "x"}})
    assert [scan.name for scan in scans_of(raw, held_out_pairs(raw, [job, other]), None)] == ["case_3"]
    write_json(other, {"scans": {"case_9": "x"}})
    with pytest.raises(InputError, match="held none of the cases"):
        held_out_pairs(raw, [other])
    with pytest.raises(InputError, match="--cases must be 1 or more; found 0"):
        scans_of(raw, held_out_pairs(raw, [job]), 0)
    assert len(labelled_pairs(raw)) == 4
    for part in ("images", "labels"):
        (raw / f"{part}Tr").rename(raw / f"{part}Ts")
    assert len(held_out_pairs(raw, [])) == 4


def test_titles_say_that_data_are_simulated_where_the_data_set_says_so(raw: Path, tmp_path: Path) -> None:
    options = argparse.Namespace(data=raw)
    assert data_in_words(options) == raw.name
    write_json(raw / DESCRIPTION, {})
    assert data_in_words(options) == f"simulated data: {raw.name}"
    options.data = tmp_path / "heads"
    write_nnunet_raw([SCAN], options.data, told=SIMULATED)
    assert data_in_words(options) == "simulated data: heads"
    options.data = None
    assert data_in_words(options).startswith("simulated data: ")


def test_calibration_of_known_bins_is_known() -> None:
    found = reliability(np.array([0.05, 0.05, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 1, 1]))
    assert found.voxels.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert (found.bleed[0], found.bleed[9]) == (0.5, 1.0)
    assert found.expected_error == pytest.approx((2 * 0.45 + 3 * (1 - 2.9 / 3)) / 5)


def test_a_probability_drawn_honestly_has_no_calibration_error_and_a_bold_one_has() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    bleed = rng.random(200_000) < probability
    assert reliability(probability, bleed).expected_error < 0.01
    assert reliability(np.round(probability), bleed).expected_error == pytest.approx(0.25, abs=0.01)


def test_calibration_of_an_ensemble_tells_whether_its_range_holds_the_volume(brightness_ensemble: Ensemble) -> None:
    volume = head_with_ball((2.0, 2.0, 5.0))
    scan = LabelledScan("head", volume, (volume.hu == 70).astype(np.uint8))
    news: list[str] = []
    found = calibration_experiment(brightness_ensemble, [scan], "full", "cpu", news.append)
    assert news == ["head is segmented (1 of 1) ..."]
    assert len(found.volumes) == 1
    case = found.volumes[0]
    assert case.true_ml == pytest.approx(volume_of(scan.label, volume))
    assert case.low_ml <= case.measured_ml <= case.high_ml
    assert found.coverage == float(case.holds)
    assert found.head.voxels.sum() == head_mask(volume.hu).sum()
    none = dataclasses.replace(case, low_ml=case.true_ml + 1, high_ml=case.true_ml + 2)
    assert not none.holds


def test_coarser_scans_cover_the_same_place_and_volume() -> None:
    coarse = at_spacing(SCAN, (3.0, 6.0, 12.0))
    assert coarse.volume.spacing_mm == pytest.approx((3.0, 6.0, 12.0))
    ends = [v.to_ras_mm(np.array([[-0.5] * 3, np.array(v.hu.shape) - 0.5])) for v in (SCAN.volume, coarse.volume)]
    assert np.allclose(*ends)
    assert coarse.volume.hu.mean() == pytest.approx(SCAN.volume.hu.mean(), abs=5)
    assert volume_of(coarse.label, coarse.volume) == pytest.approx(volume_of(SCAN.label, SCAN.volume), rel=0.35)
    with pytest.raises(InputError, match="would be finer"):
        at_spacing(SCAN, (1.0, 3.0, 3.0))


def test_dice_at_every_spacing_is_measured_on_its_own_voxels() -> None:
    found = spacing_experiment(SYSTEMS, [SCAN], [(3.0, 3.0, 3.0), (6.0, 6.0, 6.0)])
    assert len(found) == 4
    assert found[0].dice == pytest.approx(1, abs=1e-4)
    coarse = at_spacing(SCAN, (6.0, 6.0, 6.0))
    assert found[3].dice == pytest.approx(dice(SYSTEMS["upper"].mask(coarse.volume), coarse.label > 0))


def test_variants_change_the_network_and_keep_the_rest() -> None:
    network = {"irreps_levels": ["8x0e+4x1e+2x2e"] * 3, "diameters_mm": [5.0, 10.0, 20.0]}
    settings = {"network": {"pool_mm": [6, 12]}, "training": {"learning_rate": 0.1}}
    ratios = irreps_variants(network, settings)
    assert [each.label for each in ratios] == [f"irreps-{ratio}" for ratio in RATIOS]
    assert ratios[1].settings["network"] == {"pool_mm": [6, 12], "irreps_levels": ["30x0e", "60x0e", "120x0e"]}
    assert ratios[1].settings["training"] == {"learning_rate": 0.1}
    kernels = kernel_variants(network, settings, factors=[0.6, 1.0], widths=[4])
    assert kernels[0].label == "width-4-kernel-3mm"
    assert kernels[0].settings["network"]["diameters_mm"] == [3.0, 6.0, 12.0]
    assert kernels[0].settings["network"]["irreps_levels"][0] == "4x0e+2x1e+1x2e"
    for factors, widths, said in (
        ([float("nan")], [4], "above 0; found nan"),
        ([1.0], [0], "--widths must be 1 or more; found 0"),
    ):
        with pytest.raises(InputError, match=said):
            kernel_variants(network, settings, factors, widths)
    assert powers_of_two(10) == [2, 4, 8]
    assert powers_of_two(16) == [2, 4, 8, 16]


def test_variants_take_their_part_of_settings_that_are_for_several_systems(tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", {"scan-e3nn": {"subset": 1}, "so3-steerable": {"training": {"learning_rate": 1}}})
    network, settings = steerable_settings(tmp_path / "s.json", PAPERS)
    assert settings == {"training": {"learning_rate": 1}}
    assert network["irreps_levels"][0] == "8x0e+4x1e+2x2e"


@pytest.mark.parametrize(("name", "variants"), [("irreps", len(RATIOS)), ("kernel", 1)])
def test_variants_are_trained_from_the_catalogue_that_was_named(
    raw: Path, tmp_path: Path, name: str, variants: int
) -> None:
    more = ["--factors", "1", "--widths", "4"] if name == "kernel" else []
    data = ["--data", str(raw), "--catalogue", VARIED_CATALOGUE, "--steps", "1", "--device", "cpu"]
    assert main(["experiment", name, *data, *more, "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*/run/trainings.jsonl"))) == variants  # which stand-ins write


def test_kernels_of_one_width_make_a_line_of_the_figure() -> None:
    network = {"irreps_levels": ["8x0e+4x1e+2x2e"] * 3, "diameters_mm": [5.0, 10.0, 20.0]}
    entrants = kernel_variants(network, {}, factors=[0.6, 1.0, 1.4], widths=[4, 8])
    ball = SCAN.label > 0
    evaluation = summary_of(
        [evaluate_case("ball", ball, SCAN.label, SCAN.volume.spacing_mm, OUR_LABELS)], 0, OUR_LABELS
    )
    standings = [Standing(entrant, evaluation, 1000, None, Spent(), 0.0) for entrant in entrants]
    lines = [container.lines[0] for container in kernel_figure(standings, "").axes[0].containers]
    assert [list(line.get_xdata()) for line in lines] == [[3.0, 5.0, 7.0]] * 2
    assert all(list(line.get_ydata()) == [1.0] * 3 for line in lines)


def test_experiments_on_finished_runs_are_one_command_each(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "out"
    base = ["--data", str(raw), "--catalogue", CATALOGUE, "--device", "cpu"]
    assert main(["compare", "--out", str(runs), *base]) == 0
    on_runs = ["--runs", str(runs), "--data", str(raw), "--cases", "1", "--device", "cpu"]
    assert main(["experiment", "rotation", *on_runs, "--step", "90", "--out", str(tmp_path / "rotation")]) == 0
    assert "+0.000 at quarter turns\n" in capsys.readouterr().out
    values = json.loads((tmp_path / "rotation" / "experiment_rotation.json").read_text())
    trained_on = json.loads((runs / "upper" / "run" / "trainings.jsonl").read_text())["cases"]
    assert {turn["case"] for turn in values["turns"]}.isdisjoint(trained_on)
    assert abs(values["largest_change_of_mean_dice"]["upper"]["at_quarter_turns"]) > 0.5
    assert (tmp_path / "rotation" / "experiment_rotation.png").stat().st_size > 1000
    assert values["turned"] == "scan"
    head = ["experiment", "rotation", *on_runs, "--step", "90", "--turn", "head", "--out", str(tmp_path / "head")]
    assert main(head) == 2
    assert "holds no heads that can be simulated again" in capsys.readouterr().err
    write_small_set(SMALL, tmp_path / "small")
    assert main([*head, "--data", str(tmp_path / "small")]) == 0
    values = json.loads((tmp_path / "head" / "experiment_rotation.json").read_text())
    assert (values["turned"], {turn["case"] for turn in values["turns"]}) == ("head", {"simulated_001"})
    spacing = ["--spacings", "3x3x3", "6x6x6", "--out", str(tmp_path / "spacing")]
    assert main(["experiment", "spacing", *on_runs, *spacing]) == 0
    assert "6x6x6" in capsys.readouterr().out
    cases = ["--counts", "2", "--systems", "everywhere", "--out", str(tmp_path / "cases")]
    assert main(["experiment", "cases", *base, *cases]) == 0
    assert "everywhere          2 cases: mean Dice 1.000" in capsys.readouterr().out
    assert main(["experiment", "rotation", *on_runs, "--systems", "unet", "--out", str(tmp_path / "r")]) == 2
    assert "holds no run of unet" in capsys.readouterr().err
    assert main(["experiment", "spacing", *on_runs, "--spacings", "3x3", "--out", str(tmp_path / "s")]) == 2
    assert "three numbers of mm" in capsys.readouterr().err
    assert main(["experiment", "spacing", *on_runs, "--spacings", "nanx3x3", "--out", str(tmp_path / "s")]) == 2
    assert "three numbers of mm above 0" in capsys.readouterr().err
