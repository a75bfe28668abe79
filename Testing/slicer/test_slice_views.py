"""What the user sees: slice views drawn by Slicer's own displayable managers, the overlay on the bleed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host import why_no_rendering, why_not

if reason := why_not() or why_no_rendering():
    pytest.skip(reason, allow_module_level=True)

import slicer
from host.slice_picture import picture
from scenes import BALL_MM, SHAPE, affine_of, head_on, node_of, node_of_dicom, put_under, regularize
from scipy import ndimage

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.mrml import add_segmentation
from ICHSegmentationLib.terminology import SEGMENT_COLOR_RGB
from ICHSegmentationLib.volume import read_volume

pytestmark = pytest.mark.usefixtures("application")

VIEWS = ("Red", "Green", "Yellow")
EDGE_PIXELS = 2  # how far the drawn outline may lie from the voxels' own


def is_overlay(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels [y, x] that a segmentation changed."""
    return np.abs(after.astype(int) - before).max(axis=-1) > 8


def assert_covers(overlay: np.ndarray, wanted: np.ndarray) -> None:
    """The overlay is the wanted region, but for its edge."""
    inner = ndimage.binary_erosion(wanted, iterations=EDGE_PIXELS)
    outer = ndimage.binary_dilation(wanted, iterations=EDGE_PIXELS)
    assert inner.sum() > 20
    assert overlay[inner].all()
    assert not overlay[~outer].any()


@pytest.mark.parametrize("name", ["axial", "as DICOM", "flipped", "oblique", "sagittal"])
def test_the_overlay_lies_on_the_bleed_in_all_three_views(name: str, brightness_ensemble: Ensemble) -> None:
    volume = head_on(affine_of(name))
    node = node_of(volume.hu, volume.affine)
    before = [picture(view, node, BALL_MM) for view in VIEWS]
    mask = segment(volume, brightness_ensemble, "full", "cpu").mask
    add_segmentation(node, mask.T, "bleed")
    for view, plain in zip(VIEWS, before, strict=True):
        after = picture(view, node, BALL_MM)
        assert np.array_equal(after.to_ras_mm, plain.to_ras_mm)
        overlay = is_overlay(plain.rgb, after.rgb)
        bright = (plain.rgb[..., 0] > 180) & (np.linalg.norm(plain.places_mm() - BALL_MM, axis=-1) < 40)
        assert_covers(overlay, bright)
        assert np.linalg.norm(after.places_mm()[overlay].mean(axis=0) - BALL_MM) < 3.0
        red, _, blue = after.rgb[overlay].astype(int).mean(axis=0)
        assert red - blue > 0.2 * (SEGMENT_COLOR_RGB[0] - SEGMENT_COLOR_RGB[2])


def block() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[30:60, 40:75, 12:20] = True
    return mask


@pytest.mark.parametrize("view", VIEWS)
def test_the_overlay_moves_with_the_scan_under_a_transform(view: str) -> None:
    affine = affine_of("oblique")
    node = node_of(block() * 100.0, affine)
    moved = np.diag([1.1, 1.1, 1.1, 1.0])
    moved[:3, 3] = (14.0, -9.0, 25.0)
    put_under(node, moved)
    centre = (moved @ affine @ [45, 57, 16, 1])[:3]
    plain = picture(view, node, centre)
    add_segmentation(node, block().T, "bleed")
    assert_covers(is_overlay(plain.rgb, picture(view, node, centre).rgb), plain.rgb[..., 0] > 200)


@pytest.mark.parametrize("view", VIEWS)
def test_the_overlay_follows_the_tilted_uneven_slices_of_a_real_head(view: str, shared_data: Path) -> None:
    files = sorted((shared_data / "head-ct-dicom").glob("*.dcm"))
    volume = read_volume(shared_data / "head-ct-dicom")
    node = node_of_dicom(files)
    mask = np.zeros(volume.hu.shape, bool)
    mask[200:300, 220:330, 11:18] = True  # across the change of gaps
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(mask.T * np.int16(100)))
    regularize(node, volume.origins_mm)
    centre = volume.to_ras_mm(np.array([[250, 275, 14]]))[0]
    plain = picture(view, node, centre)
    add_segmentation(node, mask.T, "bleed")
    overlay = is_overlay(plain.rgb, picture(view, node, centre).rgb)
    assert_covers(overlay, plain.rgb[..., 0] > 200)
    heights = plain.places_mm()[overlay] @ volume.normal
    slices = np.interp(heights, volume.slice_positions_mm, np.arange(len(volume.slice_positions_mm)))
    assert slices.min() > 10.2
    assert slices.max() < 17.8
    assert view == "Red" or np.ptp(slices) > 6.4


def test_an_empty_result_changes_no_pixel() -> None:
    volume = head_on(affine_of("axial"))
    node = node_of(volume.hu, volume.affine)
    plain: Any = picture("Red", node, BALL_MM)
    add_segmentation(node, np.zeros(SHAPE[::-1], np.uint8), "bleed")
    assert np.array_equal(picture("Red", node, BALL_MM).rgb, plain.rgb)
