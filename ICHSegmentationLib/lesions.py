"""From a mask to lesions: specks cleared, volumes, places, sizes, and what ABC/2 would have said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from ICHSegmentationLib.geometry import Volume, others

SMALLEST_ML = 0.05  # a smaller piece would be told as "0.0 mL": it is a speck, and not counted
FULL_SLICE, HALF_SLICE = 0.75, 0.25  # of the largest area: slices that count whole, half, not (Kothari et al. 1996)


@dataclass(frozen=True)
class Lesion:
    """One connected piece of a mask.

    Attributes:
        volume_ml: each slice with its own extent.
        centroid_mm_ras: mean position in the patient, RAS.
        max_diameter_mm: the largest distance between two of its voxels' centres, plus one pixel.
        mean_hu: mean density.
        a_mm, b_mm, c_mm: largest diameter on the slice of largest area, largest diameter at right angles to it on
            the same slice, height with slices weighted by their area (Kothari et al. 1996).
        abc2_ml: a b c / 2.
        slices: how many slices it is seen on.
        largest_slice: index of the slice of largest area along the stack axis.
    """

    volume_ml: float
    centroid_mm_ras: tuple[float, float, float]
    max_diameter_mm: float
    mean_hu: float
    a_mm: float
    b_mm: float
    c_mm: float
    abc2_ml: float
    slices: int
    largest_slice: int


def without_specks(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """A mask [x, y, z] on the scan's own voxels without its connected pieces below SMALLEST_ML."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))  # all of it in one box, if there is any
    if not boxes:
        return mask
    labels, count = connected_pieces(mask[boxes[0]])
    voxel_ml = np.broadcast_to(volume.voxel_volumes_ml, mask.shape)[boxes[0]]
    piece_ml = np.bincount(labels.ravel(), weights=voxel_ml.ravel(), minlength=count + 1)
    kept = np.zeros_like(mask)
    kept[boxes[0]] = (piece_ml >= SMALLEST_ML)[labels] & (labels > 0)
    return kept


def find_lesions(mask: np.ndarray, volume: Volume) -> list[Lesion]:
    """Connected pieces (26 neighbours) of a mask [x, y, z] on the scan's own voxels, largest volume first."""
    labels, count = connected_pieces(mask)
    boxes = ndimage.find_objects(labels)
    found = [measure(labels[box] == index + 1, box, volume) for index, box in enumerate(boxes[:count])]
    return sorted(found, key=lambda lesion: -lesion.volume_ml)


def connected_pieces(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of the connected piece (26 neighbours) of each voxel [x, y, z], 0 outside; and how many there are."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return labels, count


def measure(piece: np.ndarray, box: tuple[slice, slice, slice], volume: Volume) -> Lesion:
    """Measures one lesion, given as a mask within its bounding box."""
    axis = volume.stack_axis
    voxels = np.argwhere(piece) + [side.start for side in box]
    voxel_ml = np.broadcast_to(volume.voxel_volumes_ml, volume.hu.shape)[tuple(voxels.T)]
    positions = volume.to_ras_mm(voxels)
    pixel_mm = max(volume.in_plane_spacing_mm)
    first_slice = box[axis].start
    areas = piece.sum(axis=others(axis))
    largest = int(areas.argmax())
    a_mm, b_mm = diameters(piece.take(largest, axis=axis), volume.in_plane_spacing_mm)
    share = areas / areas[largest]
    weight = np.where(share >= FULL_SLICE, 1.0, np.where(share >= HALF_SLICE, 0.5, 0.0))
    c_mm = float(weight @ volume.slice_extents_mm[first_slice : first_slice + len(areas)])
    x, y, z = np.average(positions, axis=0, weights=voxel_ml)
    return Lesion(
        volume_ml=float(voxel_ml.sum()),
        centroid_mm_ras=(float(x), float(y), float(z)),
        max_diameter_mm=largest_distance(positions) + pixel_mm,
        mean_hu=float(volume.hu[tuple(voxels.T)].mean()),
        a_mm=a_mm,
        b_mm=b_mm,
        c_mm=c_mm,
        abc2_ml=a_mm * b_mm * c_mm / 2 / 1000,
        slices=int((areas > 0).sum()),
        largest_slice=first_slice + largest,
    )


def largest_distance(points: np.ndarray) -> float:
    """Largest distance between two of the points [n, 3]."""
    if len(points) > 50:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:  # all in one plane or line
            points = np.unique(points[extremes(points)], axis=0)
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def extremes(points: np.ndarray) -> np.ndarray:
    """Indices of the points that lie furthest in one of many directions."""
    angles = np.linspace(0, np.pi, 60, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    directions = np.concatenate([around, around[:, [0, 2, 1]], around[:, [2, 0, 1]]])
    along = points @ directions.T
    return np.unique(np.concatenate([along.argmax(axis=0), along.argmin(axis=0)]))


def diameters(area: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Largest diameter of a plane mask and the largest at right angles to it, in mm, edge to edge of pixels."""
    corners = np.concatenate([np.argwhere(area) + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))])
    points = np.unique(corners, axis=0) * np.array(spacing_mm)
    hull = points[ConvexHull(points).vertices]
    between = hull[:, None] - hull[None, :]
    distances = np.linalg.norm(between, axis=2)
    first, second = np.unravel_index(distances.argmax(), distances.shape)
    along = between[first, second] / distances[first, second]
    across = hull @ np.array([-along[1], along[0]])
    return float(distances[first, second]), float(across.max() - across.min())
