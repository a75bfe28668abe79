"""How well one mask agrees with another: the four metrics of INSTANCE 2022, and what a clinic asks beside them.

Surface distances come from DeepMind's package `surface-distance`, whose surfaces lie between voxels and carry areas.
What it leaves open, an empty mask, is decided here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.lesions import connected_pieces

SMOOTH = 1e-5  # in the challenge's Dice
TOLERANCE_MM = 0.42  # the challenge's, of the surface Dice
FOUND_SHARE = 0.1  # of a lesion's voxels that a prediction must cover for the lesion to count as found

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class CaseMetrics:
    """One prediction against its reference.

    Attributes:
        dice: 1 if both are empty.
        relative_volume_difference: share of the reference's volume; not a number if the reference is empty.
        surface_dice: share of both surfaces within 0.42 mm of the other; 1 if both are empty, 0 if one is.
        hausdorff_mm: largest distance between the surfaces; 0 if both are empty, infinite if one is.
        hausdorff95_mm: the same for the 95th percentile of each surface's area.
        reference_ml, predicted_ml: volumes.
        lesions: connected pieces of the reference.
        lesions_found: those of which the prediction covers a tenth or more.
        false_lesions: connected pieces of the prediction that touch no bleed.
    """

    dice: float
    relative_volume_difference: float
    surface_dice: float
    hausdorff_mm: float
    hausdorff95_mm: float
    reference_ml: float
    predicted_ml: float
    lesions: int
    lesions_found: int
    false_lesions: int

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus reference."""
        return self.predicted_ml - self.reference_ml


def measure(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> CaseMetrics:
    """All metrics of a prediction, bool [x, y, z], against a reference of the same shape.

    Raises:
        InputError: the shapes differ, or `surface-distance` is not installed.
    """
    if prediction.shape != reference.shape:
        raise InputError(
            f"the prediction has {list(prediction.shape)} voxels and the reference {list(reference.shape)}; the same "
            "grid is wanted."
        )
    surfaces = surface_distances(prediction, reference, spacing_mm)
    lesions, found = lesions_found(prediction, reference)
    voxel_ml = math.prod(spacing_mm) / 1000
    return CaseMetrics(
        dice=dice(prediction, reference),
        relative_volume_difference=relative_volume_difference(prediction, reference),
        surface_dice=surfaces.dice(TOLERANCE_MM),
        hausdorff_mm=surfaces.hausdorff_mm(100),
        hausdorff95_mm=surfaces.hausdorff_mm(95),
        reference_ml=int(reference.sum()) * voxel_ml,
        predicted_ml=int(prediction.sum()) * voxel_ml,
        lesions=lesions,
        lesions_found=found,
        false_lesions=false_lesions(prediction, reference),
    )


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """(2 |A and B| + 1e-5) / (|A| + |B| + 1e-5) of two bool masks, as in INSTANCE 2022: 1 if both are empty."""
    overlap = int((prediction & reference).sum())
    return (2 * overlap + SMOOTH) / (int(prediction.sum()) + int(reference.sum()) + SMOOTH)


def relative_volume_difference(prediction: np.ndarray, reference: np.ndarray) -> float:
    """|A - B| / B on the voxel counts, as in INSTANCE 2022; not a number (an error there) if the reference is empty."""
    count = int(reference.sum())
    return abs(int(prediction.sum()) - count) / count if count else math.nan


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance in mm of every surface element to the other surface, ascending, and the element's area in mm2."""

    to_reference_mm: np.ndarray
    to_prediction_mm: np.ndarray
    prediction_mm2: np.ndarray
    reference_mm2: np.ndarray

    def dice(self, tolerance_mm: float) -> float:
        """Share of the two surfaces' area that lies within the tolerance of the other (INSTANCE's NSD)."""
        total = self.prediction_mm2.sum() + self.reference_mm2.sum()
        if total == 0:
            return 1.0
        near_reference = self.prediction_mm2[self.to_reference_mm <= tolerance_mm].sum()
        near_prediction = self.reference_mm2[self.to_prediction_mm <= tolerance_mm].sum()
        return float((near_reference + near_prediction) / total)

    def hausdorff_mm(self, percent: float) -> float:
        """The larger of the two directed distances that `percent` of each surface's area does not exceed."""
        directions = [(self.to_reference_mm, self.prediction_mm2), (self.to_prediction_mm, self.reference_mm2)]
        empty = [len(distances) == 0 for distances, _ in directions]
        if any(empty):
            return 0.0 if all(empty) else math.inf
        return max(percentile(distances, areas, percent) for distances, areas in directions)


def percentile(ascending: np.ndarray, weights: np.ndarray, percent: float) -> float:
    """The first of the ascending values at which the weights add up to `percent` of all (100: the last)."""
    if percent >= 100:
        return float(ascending[-1])
    share = np.cumsum(weights) / weights.sum()
    place = int(np.searchsorted(share, percent / 100))
    return float(ascending[min(place, len(ascending) - 1)])


def require_surface_distance() -> None:
    """Raises an InputError where the package is not installed."""
    try:
        import surface_distance  # noqa: F401
    except ImportError:
        raise InputError(
            "surface distances want the package surface-distance, which is not installed: pip install "
            "'ICHSegmentation[evaluate]'."
        ) from None


def surface_distances(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> SurfaceDistances:
    """Distances between the surfaces of two bool masks [x, y, z].

    Raises:
        InputError: `surface-distance` is not installed.
    """
    if not prediction.any() or not reference.any():  # the package fails here with NumPy 2
        # one element stands for the whole surface of the mask that is not empty: it is infinitely far from the other
        areas = [np.ones(int(mask.any())) for mask in (prediction, reference)]
        far = [np.full(len(area), math.inf) for area in areas]
        return SurfaceDistances(far[0], far[1], areas[0], areas[1])
    require_surface_distance()
    import surface_distance

    with warnings.catch_warnings():  # it asks SciPy by names that SciPy 2 will drop
        warnings.simplefilter("ignore", DeprecationWarning)
        found = surface_distance.compute_surface_distances(reference, prediction, spacing_mm)
    return SurfaceDistances(
        to_reference_mm=found["distances_pred_to_gt"],
        to_prediction_mm=found["distances_gt_to_pred"],
        prediction_mm2=found["surfel_areas_pred"],
        reference_mm2=found["surfel_areas_gt"],
    )


def lesions_found(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """How many connected pieces the reference has, and of how many the prediction covers a tenth or more."""
    pieces, count = connected_pieces(reference)
    size = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    covered = np.bincount(pieces[prediction], minlength=count + 1)[1:]
    return count, int((covered >= FOUND_SHARE * size).sum())


def false_lesions(prediction: np.ndarray, reference: np.ndarray) -> int:
    """How many connected pieces of the prediction hold no voxel of the reference."""
    pieces, count = connected_pieces(prediction)
    touching = np.bincount(pieces[reference], minlength=count + 1)[1:]
    return int((touching == 0).sum())
