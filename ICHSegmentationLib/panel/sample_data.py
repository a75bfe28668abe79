"""What Slicer's Sample Data module offers of this extension: a public scan, and a generated head.

Nothing is fetched or generated until the user asks for it there.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

CATEGORY = "ICH Segmentation"
PUBLIC_NAME = "ICH-ADAPT2"
PUBLIC_URL = "https://github.com/lassoan/SlicerMONAIAuto3DSeg/releases/download/TestingData/ICH-ADAPT2.nii.gz"
PUBLIC_CHECKSUM = "SHA256:40e9f1cb82dd68e8bd19dccf0ad116c8cb2eb67a8cfadf3ad9155642e4851d89"
GENERATED_NAME = "GeneratedHead"
GENERATED_SEED = 7
GENERATE = (
    "import pathlib, sys; from ICHSegmentationLib.simulation.demo import demo_case, write_demo_scan; "
    "write_demo_scan(demo_case(int(sys.argv[1])), pathlib.Path(sys.argv[2]))"
)


def register(icons: Path) -> None:
    """Tells Slicer's Sample Data module; `icons` holds a thumbnail for each."""
    import SampleData

    add = SampleData.SampleDataLogic.registerCustomSampleDataSource
    add(
        category=CATEGORY,
        sampleName=PUBLIC_NAME,
        uris=PUBLIC_URL,
        fileNames=f"{PUBLIC_NAME}.nii.gz",
        nodeNames=PUBLIC_NAME,
        checksums=PUBLIC_CHECKSUM,
        thumbnailFileName=str(icons / f"{PUBLIC_NAME}.png"),
    )
    add(
        category=CATEGORY,
        sampleName=GENERATED_NAME,
        uris=[],  # Slicer wants lists of one length, and there is nothing to fetch
        fileNames=[],
        nodeNames=[],
        loadFiles=[],
        checksums=[],
        customDownloader=generate,
        thumbnailFileName=str(icons / f"{GENERATED_NAME}.png"),
    )


def generate(source: Any = None) -> list[Any]:
    """Puts a generated head into the scene; shows why in a window if that cannot be done."""
    import slicer

    with slicer.util.tryWithErrorDisplay("The head could not be generated.", waitCursor=True):
        return [node_of_generated_head()]


def node_of_generated_head() -> Any:
    """A head with a bleed of known volume, made by a process of its own, as a volume node.

    Raises:
        RuntimeError: the process that makes it failed; its last line says why (PyTorch is not installed).
    """
    import slicer

    from ICHSegmentationLib.image_files import read_image_file
    from ICHSegmentationLib.panel.application import python_of_slicer

    with tempfile.TemporaryDirectory(prefix="ich-sample-") as folder:
        library = Path(__file__).resolve().parents[2]
        command = [python_of_slicer(), "-c", GENERATE, str(GENERATED_SEED), folder]
        done = subprocess.run(command, cwd=library, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
        volume = read_image_file(Path(folder) / "generated_ct.nii.gz")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", GENERATED_NAME)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.hu.T, np.int16))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.affine))
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
