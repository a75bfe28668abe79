"""NIfTI, NRRD and MetaImage: what goes in comes out on the same voxels."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ICHSegmentationLib.errors import InputError, OutputError
from ICHSegmentationLib.image_files import read_image_file, to_image, write_image_file
from ICHSegmentationLib.staging import whole_or_not_at_all

OBLIQUE = np.array(
    [[0.4472, -0.1201, 0.83, -70.0], [0.1201, 0.4472, -1.1, -80.0], [-0.03, 0.11, 4.79, 30.0], [0, 0, 0, 1.0]]
)


def right_angled(affine: np.ndarray) -> np.ndarray:
    """The nearest affine with right angles and the same spacing."""
    u, _, v = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    result = affine.copy()
    result[:3, :3] = u @ v * np.linalg.norm(affine[:3, :3], axis=0)
    return result


def values() -> np.ndarray:
    return np.asfortranarray(np.random.default_rng(0).integers(-1000, 2000, (7, 6, 5)).astype(np.int16))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("affine", [np.diag([-0.5, 0.5, 5, 1.0]), right_angled(OBLIQUE)], ids=["flipped", "oblique"])
def test_values_and_geometry_survive_the_way_to_disk(tmp_path: Path, suffix: str, affine: np.ndarray) -> None:
    path = tmp_path / f"scan{suffix}"
    write_image_file(path, values(), affine, {})
    volume = read_image_file(path)
    assert np.array_equal(volume.hu, values())
    assert volume.affine == pytest.approx(affine, abs=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_a_sheared_grid_survives_the_way_to_disk(tmp_path: Path, suffix: str) -> None:
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    affine[1, 2] = 1.7
    path = tmp_path / f"scan{suffix}"
    write_image_file(path, values(), affine, {})
    volume = read_image_file(path)
    assert volume.affine == pytest.approx(affine, abs=1e-4)
    assert volume.tilt_deg == pytest.approx(np.rad2deg(np.arctan2(1.7, 5)), abs=0.01)


def test_nifti_is_read_on_the_voxels_that_simpleitk_sees(tmp_path: Path) -> None:
    affine = right_angled(OBLIQUE)
    sitk.WriteImage(to_image(values(), affine), str(tmp_path / "scan.nii.gz"))
    image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    volume = read_image_file(tmp_path / "scan.nii.gz")
    x, y, z = image.TransformIndexToPhysicalPoint((3, 2, 4))
    assert volume.to_ras_mm(np.array([[3, 2, 4]]))[0] == pytest.approx([-x, -y, z], abs=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_integers_and_floats_are_read(tmp_path: Path, dtype: type) -> None:
    array = np.abs(values()).astype(dtype)
    write_image_file(tmp_path / "scan.nrrd", array, np.eye(4), {})
    volume = read_image_file(tmp_path / "scan.nrrd")
    assert volume.hu.dtype == np.float32
    assert np.array_equal(volume.hu, array)


def test_four_dimensions_with_one_frame_are_a_volume(tmp_path: Path) -> None:
    image = sitk.JoinSeries([to_image(values(), np.eye(4))])
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    assert np.array_equal(read_image_file(tmp_path / "scan.nii.gz").hu, values())


def test_four_dimensions_with_several_frames_are_refused(tmp_path: Path) -> None:
    image = sitk.JoinSeries([to_image(values(), np.eye(4))] * 3)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    with pytest.raises(InputError, match="3 frames"):
        read_image_file(tmp_path / "scan.nii.gz")


def test_a_plane_picture_is_one_slice(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(values()[:, :, 0].T), str(tmp_path / "slice.mha"))
    assert read_image_file(tmp_path / "slice.mha").hu.shape == (7, 6, 1)


def test_a_big_endian_sheared_nifti_is_understood(tmp_path: Path) -> None:
    header = bytearray(352)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(">hh", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 1, 1, 4, 0, 0, 0, 0)
    struct.pack_into(">f", header, 108, 352.0)
    struct.pack_into(">hh", header, 252, 0, 1)
    struct.pack_into(">12f", header, 280, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 4, 0)
    header[344:348] = b"n+1\0"
    voxels = np.arange(24, dtype=">i2").tobytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(header) + voxels))
    volume = read_image_file(tmp_path / "scan.nii.gz")
    assert volume.affine[1, 2] == pytest.approx(2)
    assert volume.hu.ravel(order="F").tolist() == list(range(24))


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "result.nii.gz"

    def write_half() -> None:
        with whole_or_not_at_all(path) as partial:
            partial.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"result\.nii\.gz could not be written: No space left"):
        write_half()
    assert list(tmp_path.iterdir()) == []
