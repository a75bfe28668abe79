"""Where a network is wrong is found, kept and trained from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import small_network

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.hard_places import CasePlaces, HardPlaces, read_places, write_places
from ICHSegmentationLib.training.mining import as_ensemble, mine, places_of
from ICHSegmentationLib.training.pool import StoredCase
from ICHSegmentationLib.training.sources import Source

SHAPE = (20, 24, 6)


def case_with_bleed() -> StoredCase:
    label = np.zeros(SHAPE, np.uint8)
    label[4:8, 4:8, 2:4] = 1
    label[4:8, 8:10, 2:4] = IGNORED
    return StoredCase(np.full(SHAPE, 30, np.int16), label, (1.0, 1.0, 5.0), "case")


def test_missed_and_false_voxels_are_found_and_hidden_blood_is_neither() -> None:
    case = case_with_bleed()
    probability = np.zeros(SHAPE, np.float32)
    probability[4:8, 4:6, 2:4] = 0.9  # half of the bleed
    probability[4:8, 8:10, 2:4] = 0.9  # hidden
    probability[15, 15, 5] = 0.6
    found = places_of(case, probability, np.random.default_rng(0))
    assert found.missed_ml == pytest.approx(16 * 0.005)
    assert found.false_ml == pytest.approx(0.005)
    assert set(found.missed) == set(np.flatnonzero((case.label == 1) & (probability == 0)).tolist())
    assert np.unravel_index(found.false[0], SHAPE) == (15, 15, 5)


def test_a_case_is_drawn_the_oftener_the_more_is_wrong_but_not_without_end() -> None:
    little, much, huge = (CasePlaces(ml, 0.0, (1, 2), ()) for ml in (1.0, 4.0, 100.0))
    false = CasePlaces(0.0, 4.0, (), (3,))
    places = HardPlaces({"little": little, "much": much, "huge": huge, "false": false})
    assert places.weights.sum() == pytest.approx(1)
    assert places.weights[:, 0].tolist() == pytest.approx([1 / 7, 2 / 7, 2 / 7, 0])
    rng = np.random.default_rng(0)
    drawn = [places.drawn(rng) for _ in range(600)]
    assert dict(drawn) == {
        "little": (1, 2),
        "much": (1, 2),
        "huge": (1, 2),
        "false": (3,),
    }
    assert 50 < sum(name == "little" for name, _ in drawn) < 120


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    wrong = CasePlaces(1.5, 0.25, (3, 4), (5,))
    write_places(tmp_path / "hard.json", {"a": wrong, "b": CasePlaces(0.0, 0.0, (), ())}, {"network": ["run"]})
    places = read_places(tmp_path / "hard.json")
    assert places.cases == {"a": wrong}  # nothing is wrong on b
    assert len(places.sha256) == 64


@pytest.mark.parametrize("content", ["", "[]", '{"cases": {"a": {}}}', '{"cases": {"a": 3}}'])
def test_what_is_no_such_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "hard.json").write_text(content)
    with pytest.raises(InputError, match="no file of `ich mine`"):
        read_places(tmp_path / "hard.json")


def test_nothing_wrong_and_other_cases_are_refused(tmp_path: Path) -> None:
    write_places(tmp_path / "hard.json", {"a": CasePlaces(0.0, 0.0, (), ())}, {})
    with pytest.raises(InputError, match="holds no place"):
        read_places(tmp_path / "hard.json")
    places = HardPlaces({"a": CasePlaces(1.0, 0.0, (1,), ())})
    assert TrainingCases((tmp_path / "a",)).with_hard(places).hard is not None
    with pytest.raises(InputError, match="none of the cases"):
        TrainingCases((tmp_path / "b",)).with_hard(places)


def test_a_network_is_mined_on_whole_cases() -> None:
    network = small_network()
    source = Source({name: value.clone() for name, value in network.state_dict().items()}, network.config, {}, "run")
    label = np.zeros((32, 32, 6), np.uint8)
    label[10:14, 10:14, 2:4] = 1
    hu = np.full(label.shape, -1000, np.int16)
    hu[2:30, 2:30] = 30
    case = StoredCase(hu, label, (5.0, 5.0, 5.0), "case_1")
    sources = [source, dataclasses.replace(source)]
    ((name, places),) = mine([case], as_ensemble(sources), device="cpu")
    assert name == "case_1"
    assert places.missed_ml + places.false_ml >= 0
    assert len(as_ensemble(sources).members) == 2
    assert torch.equal(as_ensemble(sources).members[0].state_dict()["bias"], source.weights["bias"])
