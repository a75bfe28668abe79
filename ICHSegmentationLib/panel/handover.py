"""A volume of Slicer's scene to the worker, and its answer back. Imports slicer, not torch.

The scan goes over as an uncompressed NRRD in the worker's private folder, with where its slices lie beside it; mask
and probability come back as arrays. `clear` removes both.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.mrml import TagValue, linear_transform_to_world, matrix_of, volume_of_node
from ICHSegmentationLib.worker_process import WorkerProcess

SAME_PLACE_MM = 1e-5


@dataclass(frozen=True)
class Answer:
    """What the worker found on a volume: the node, mask and probability [z, y, x] on its voxels."""

    volume: Any
    mask: np.ndarray
    probability: np.ndarray


class Handover:
    """One volume on its way.

    Attributes:
        request: what to ask the worker (see worker.py), without bundle and options.
        fingerprint: of the volume as it was sent.
        seconds: since it was sent.
    """

    def __init__(self, node: Any, worker: WorkerProcess, tag_value: TagValue | None) -> None:
        """Writes the volume for the worker.

        Args:
            node: vtkMRMLScalarVolumeNode; of a sequence, the frame that is shown.
            worker: whose private folder takes the files.
            tag_value: reads tags of DICOM files, see `mrml.volume_of_node`.

        Raises:
            InputError: the node holds no three-dimensional image of one value a voxel.
            OutputError: the disk is full.
        """
        self.started = time.monotonic()
        self.volume_id = node.GetID()
        volume = volume_of_node(node, tag_value)
        self.fingerprint = fingerprint_of(node)
        number = time.monotonic_ns()
        self.scan, self.out = worker.folder / f"{number}.nrrd", worker.folder / f"{number}"
        write_image_file(self.scan, volume.hu, volume.affine, {}, compressed=False)
        origins = None if volume.slice_origins_mm is None else volume.slice_origins_mm.tolist()
        self.request = {
            "scan": str(self.scan),
            "out": str(self.out),
            "arrays": True,
            "scan_info": {"slice_origins_mm": origins, "notes": list(volume.info.notes)},
        }

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def answer(self) -> Answer:
        """Takes the worker's result.

        Raises:
            InputError: there is no place for it any more: the volume is gone or is not what was sent.
        """
        volume = slicer.mrmlScene.GetNodeByID(self.volume_id)
        if volume is None:
            raise InputError("the volume was removed while it was segmented: there is nowhere to put the result.")
        if fingerprint_of(volume) != self.fingerprint:
            raise InputError("the volume was changed while it was segmented; run it again.")
        mask, probability = (np.load(self.out / f"{name}.npy") for name in ("mask", "probability"))
        return Answer(volume, mask, probability)

    def clear(self) -> None:
        """Removes what lies in the worker's folder."""
        self.scan.unlink(missing_ok=True)
        shutil.rmtree(self.out, ignore_errors=True)


def fingerprint_of(node: Any) -> str:
    """SHA-256 of a volume node's voxels and of where they lie in the world; the same after saving and loading.

    A file brings a matrix back but for its last bits, so steps are hashed. Their borders lie a third of a step beside
    what can be written in few digits or as a binary fraction, as spacings usually can.
    """
    digest = hashlib.sha256()
    if node.GetImageData() is not None:
        array = slicer.util.arrayFromVolume(node)
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    to_world = linear_transform_to_world(node)
    placed = matrix_of(node.GetIJKToRASMatrix)
    matrix = placed if to_world is None else to_world @ placed
    digest.update(np.floor(matrix / SAME_PLACE_MM + 1 / 3).astype(np.int64).tobytes())
    return digest.hexdigest()
