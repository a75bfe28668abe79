"""Draws the module's icon, the thumbnails of its sample data and a page of simulated heads: `make pictures`.

The icon is a head from below with a bleed, in few shapes, so that it can be told at 16 pixels on light and dark. The
thumbnails are slices of generated heads. No patient is in any of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simulated_page
from PIL import Image, ImageDraw
from scipy import ndimage

from ICHSegmentationLib.simulation.demo import DEMO_SPACING_MM, demo_case

ICONS = Path(__file__).resolve().parents[1] / "ICHSegmentation" / "Resources" / "Icons"
ICON_PIXELS = 128
FINER = 8  # drawn larger and reduced, for smooth edges
OUTLINE, SKULL, BRAIN, FALX, BLEED = "#26303a", "#eef2f5", "#5f6c78", "#c3ccd4", "#e2331d"

THUMBNAIL_PIXELS = 256
BRAIN_WINDOW_HU = (0.0, 80.0)
BONE_HU = 300
MARGIN = 10  # voxels around the skull
THUMBNAILS = {"GeneratedHead.png": 7, "ICH-ADAPT2.png": 3}  # file -> seed of the head that is shown


def icon(pixels: int = ICON_PIXELS) -> Image.Image:
    """The icon, transparent outside the head."""
    size = pixels * FINER
    image = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, half_width: float, half_height: float, color: str) -> None:
        """In shares of the picture."""
        corners = (x - half_width, y - half_height, x + half_width, y + half_height)
        draw.ellipse([size * corner for corner in corners], fill=color)

    ellipse(0.5, 0.5, 0.43, 0.495, OUTLINE)
    ellipse(0.5, 0.5, 0.405, 0.47, SKULL)
    ellipse(0.5, 0.5, 0.315, 0.38, BRAIN)
    draw.rectangle([size * 0.485, size * 0.13, size * 0.515, size * 0.87], fill=FALX)
    ellipse(0.645, 0.47, 0.125, 0.155, BLEED)
    ellipse(0.60, 0.585, 0.09, 0.075, BLEED)
    return image.resize((pixels, pixels), Image.Resampling.LANCZOS)


def thumbnail(seed: int) -> Image.Image:
    """The slice of a generated head that shows most of its bleed, in the brain window, patient's right on the left."""
    case = demo_case(seed)
    slice_index = int((case.subtype > 0).sum(dim=(0, 1)).argmax())
    hu = around_skull(case.hu[:, :, slice_index].numpy())
    low, high = BRAIN_WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0, 1) * 255
    sides_mm = [side * step for side, step in zip(hu.shape, DEMO_SPACING_MM[:2], strict=True)]
    width, height = (round(side * THUMBNAIL_PIXELS / max(sides_mm)) for side in sides_mm)
    picture = Image.fromarray(grey[::-1, ::-1].T.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("L", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    square.paste(picture, ((THUMBNAIL_PIXELS - picture.width) // 2, (THUMBNAIL_PIXELS - picture.height) // 2))
    return square


def around_skull(hu: np.ndarray) -> np.ndarray:
    """The part of a slice [x, y] that holds the largest thing as dense as bone, with a margin."""
    labels, _ = ndimage.label(hu > BONE_HU)
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    box = []
    for axis in (0, 1):
        inside = np.flatnonzero((labels == largest).any(axis=1 - axis))
        box.append(slice(max(0, inside[0] - MARGIN), inside[-1] + 1 + MARGIN))
    return hu[tuple(box)]


def main() -> None:
    icon().save(ICONS / "ICHSegmentation.png", optimize=True)
    for file, seed in THUMBNAILS.items():
        thumbnail(seed).save(ICONS / file, optimize=True)
    simulated_page.page().save(simulated_page.PAGE, optimize=True)


if __name__ == "__main__":
    main()
