"""Resources/screenshots/slice_views.png: a generated head, segmented, in the three slice views. `make pictures`

The views are drawn by Slicer's own displayable managers, without Slicer's window around them.
"""

from __future__ import annotations

from pathlib import Path

import host
import numpy as np
from PIL import Image

from ICHSegmentationLib.ensemble import load_bundle
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.lesions import find_lesions
from ICHSegmentationLib.simulation.demo import DEMO_SPACING_MM, demo_case
from ICHSegmentationLib.volume import as_volume

SEED = 7
PIXELS = 400
PICTURE = Path(__file__).resolve().parents[2] / "Resources" / "screenshots" / "slice_views.png"


def main() -> None:
    if reason := host.why_not() or host.why_no_rendering():
        raise SystemExit(reason)
    from host.application import start

    start()
    from host.slice_picture import picture
    from scenes import node_of

    from ICHSegmentationLib.mrml import add_segmentation

    volume = as_volume(demo_case(SEED).hu.numpy(), DEMO_SPACING_MM)
    found = segment(volume, load_bundle(), "fast", "cpu")
    node = node_of(volume.hu, volume.affine)
    node.GetDisplayNode().SetInterpolate(1)
    add_segmentation(node, found.mask.T, "bleed")
    centre = find_lesions(found.mask, volume)[0].centroid_mm_ras
    views = [picture(view, node, centre, PIXELS).rgb[::-1] for view in ("Red", "Yellow", "Green")]
    Image.fromarray(np.hstack(views)).quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
