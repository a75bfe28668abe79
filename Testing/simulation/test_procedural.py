"""The head made of formulas."""

from __future__ import annotations

import numpy as np
import pytest

from ICHSegmentationLib.simulation.anatomy import LABELS_OF_TISSUE, Tissue
from ICHSegmentationLib.simulation.procedural import SIZE_MM, procedural_labels


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return procedural_labels(0, 3.0)


def test_labels_are_those_of_a_whole_head(labels: np.ndarray) -> None:
    assert labels.shape == tuple(int(np.ceil(side / 3)) for side in SIZE_MM)
    known = {code for codes in LABELS_OF_TISSUE.values() for code in codes}
    assert set(np.unique(labels)) <= known
    for kind in (Tissue.SKIN, Tissue.CORTICAL_BONE, Tissue.CSF, Tissue.CORTEX, Tissue.WHITE, Tissue.VENTRICLE,
                 Tissue.DEEP_GREY, Tissue.CEREBELLUM_GREY, Tissue.BRAINSTEM, Tissue.SINUS, Tissue.EYE):  # fmt: skip
        assert np.isin(labels, LABELS_OF_TISSUE[kind]).sum() > 10, kind.name


def test_the_two_hemispheres_are_about_equal_and_on_their_sides(labels: np.ndarray) -> None:
    left, right = np.isin(labels, (2, 3)), np.isin(labels, (41, 42))
    assert left.sum() == pytest.approx(right.sum(), rel=0.1)
    assert np.argwhere(left)[:, 0].mean() < labels.shape[0] / 2 < np.argwhere(right)[:, 0].mean()


def test_a_seed_gives_the_same_head_and_another_another(labels: np.ndarray) -> None:
    assert np.array_equal(procedural_labels(0, 3.0), labels)
    assert not np.array_equal(procedural_labels(1, 3.0), labels)
