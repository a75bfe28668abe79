"""A page of simulated heads with their true outlines, for those who want to see what the networks learned from.

From the label maps in `shared/data/label-maps` beside the repository (SynthSeg's, Apache-2.0) where they are, else from
generated heads. Every tile is a seed: the page is the same whenever it is drawn from the same heads.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.case import IGNORED, Case, CaseParameters, simulate
from ICHSegmentationLib.simulation.extraaxial import Extraaxial
from ICHSegmentationLib.simulation.fluid_bleeds import Intraventricular, Subarachnoid
from ICHSegmentationLib.simulation.hardware import Device
from ICHSegmentationLib.simulation.hemorrhage import AnyBleed
from ICHSegmentationLib.simulation.label_maps import label_map_files, load_anatomy
from ICHSegmentationLib.simulation.look_alikes import Tumour
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.simulation.surgery import Opening

PAGE = Path(__file__).resolve().parent / "simulated.png"
LABEL_MAPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "label-maps"
HEADS = (1, 8, 16)  # which of the label maps, in the order of their names: measuring one takes half a minute
COLUMNS, TILE, CAPTION = 4, (204, 246), 18  # pixels: width, height of a tile, and of the line below it
COLORS = {
    Subtype.IPH: (255, 90, 54),
    Subtype.IVH: (72, 160, 255),
    Subtype.SAH: (255, 212, 0),
    Subtype.SDH: (64, 220, 120),
    Subtype.EDH: (224, 96, 255),
}
WINDOW_HU = (0.0, 80.0)
GREYS = 64  # of the page: noise packs badly


@dataclass(frozen=True)
class Tile:
    """One head of the page: what its caption says, a seed, and how to make it of what was drawn."""

    words: str
    seed: int
    made: Callable[[CaseParameters, np.random.Generator], CaseParameters]


def bleeding(*kinds: Callable[[np.random.Generator], AnyBleed]) -> Callable[..., CaseParameters]:
    return lambda drawn, rng: dataclasses.replace(drawn, bleeds=tuple(kind(rng) for kind in kinds))


def deep(rng: np.random.Generator) -> AnyBleed:
    drawn = Parenchymal.draw(rng, contusion=False)
    return dataclasses.replace(drawn, region="deep", volume_ml=28.0, edema_hu=9.0, satellites=2)


def lobar(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Parenchymal.draw(rng, contusion=False), region="lobar", volume_ml=35.0)


def contusion(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Parenchymal.draw(rng, contusion=True), volume_ml=2.5)


def wide(drawn: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    """Blood settled in ventricles that age has widened."""
    pose = dataclasses.replace(drawn.pose, brain_growth_mm=0.5, ventricle_growth_mm=2.0)
    return dataclasses.replace(drawn, bleeds=(settled(rng),), pose=pose)


def settled(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Intraventricular.draw(rng), form="settled", level=0.3)


def basal(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Subarachnoid.draw(rng), basal=True, radius_mm=38.0, opening_mm=1.6, dilution=1.0)


def sulcal(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Subarachnoid.draw(rng), basal=False, radius_mm=20.0, opening_mm=1.0, dilution=1.0)


def subdural(rng: np.random.Generator) -> AnyBleed:
    drawn = Extraaxial.draw(rng, epidural=False)
    return dataclasses.replace(drawn, along="convexity", thickness_mm=9.0, extent_mm=65.0, where=0.85)


def along_falx(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Extraaxial.draw(rng, epidural=False), along="falx", thickness_mm=5.0, extent_mm=60.0)


def epidural(rng: np.random.Generator) -> AnyBleed:
    return dataclasses.replace(Extraaxial.draw(rng, epidural=True), thickness_mm=17.0, extent_mm=45.0, where=0.5)


def operated(drawn: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    opening = dataclasses.replace(
        Opening.draw(rng), kind="flap", where=0.6, radius_mm=34.0, air_mm=5.0, swollen=0.9, filling_hu=20.0
    )
    drain = Device("drain", 0.5, 0.0, 1.4, 0.0, 300.0, 1)
    return dataclasses.replace(drawn, bleeds=(), openings=(opening,), devices=(drain,))


def with_coil(drawn: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    coil = Device("coil", 0.5, 2.0, 3.0, 0.0, 8000.0, 1)
    return dataclasses.replace(drawn, bleeds=(basal(rng),), devices=(coil,))


def with_tumour(drawn: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    tumour = dataclasses.replace(
        Tumour.draw(rng), in_brain=True, radius_mm=15.0, edema_mm=20.0, edema_hu=12.0, core=0.55, core_hu=14.0
    )
    densities = dataclasses.replace(drawn.densities, tumours=(tumour,))
    return dataclasses.replace(drawn, bleeds=(), densities=densities)


TILES = (
    Tile("IPH, deep, with satellites", 1, bleeding(deep)),
    Tile("IPH, lobar, and IVH", 2, bleeding(lobar, settled)),
    Tile("IPH: contusions", 3, bleeding(contusion, contusion, contusion)),
    Tile("IVH, settled", 4, wide),
    Tile("SAH, basal cisterns", 5, bleeding(basal)),
    Tile("SAH, sulci", 6, bleeding(sulcal)),
    Tile("SDH, convexity", 7, bleeding(subdural)),
    Tile("SDH, falx", 8, bleeding(along_falx)),
    Tile("EDH", 9, bleeding(epidural)),
    Tile("SAH around a coil", 10, with_coil),
    Tile("none: tumour with edema", 11, with_tumour),
    Tile("none: flap, air, drain", 12, operated),
)


def page() -> Image.Image:
    """All tiles with their captions, in few colours."""
    heads = anatomies()
    width, height = TILE
    rows = -(-len(TILES) // COLUMNS)
    image = Image.new("RGB", (COLUMNS * width, rows * (height + CAPTION)))
    draw = ImageDraw.Draw(image)
    for number, tile in enumerate(TILES):
        corner = (number % COLUMNS * width, number // COLUMNS * (height + CAPTION))
        image.paste(picture(simulated(tile, heads)), corner)
        draw.text((corner[0] + 6, corner[1] + height + 3), tile.words, fill=(225, 225, 225))
    return image.quantize(palette=palette(), dither=Image.Dither.NONE)


def palette() -> Image.Image:
    """The page's greys and the colours of the outlines, which a palette made from the page itself would lose."""
    greys = [value for step in range(GREYS) for value in [round(step * 255 / (GREYS - 1))] * 3]
    holder = Image.new("P", (1, 1))
    holder.putpalette(greys + [value for color in COLORS.values() for value in color])
    return holder


def anatomies() -> list[Anatomy]:
    if not LABEL_MAPS.is_dir():
        return [procedural_anatomy(seed) for seed in HEADS]
    with tempfile.TemporaryDirectory() as folder:
        files = label_map_files(LABEL_MAPS)
        return [load_anatomy(files[number], Path(folder)) for number in HEADS]


def simulated(tile: Tile, heads: list[Anatomy]) -> Case:
    """The case of a tile, in slices of 5 mm, the eight centimetres around the middle of its brain."""
    rng = np.random.default_rng(tile.seed)
    drawn = CaseParameters.draw(rng, len(heads)).undisturbed()
    protocol = dataclasses.replace(
        drawn.protocol, spacing_mm=(1.0, 1.0, 5.0), subslices=3, noise_hu=float(rng.uniform(1.8, 3))
    )
    pose = dataclasses.replace(drawn.pose, offset_mm=(0.0, 0.0, 0.0))
    densities = dataclasses.replace(drawn.densities, tumours=())
    plain = dataclasses.replace(
        drawn,
        slices=16,
        width_mm=(176.0, 216.0),
        pose=pose,
        densities=densities,
        protocol=protocol,
    )
    with torch.inference_mode():
        return simulate(tile.made(plain, rng), heads[tile.seed % len(heads)])


def picture(case: Case) -> Image.Image:
    """The slice that shows most, in the brain window, each subtype outlined, patient's right on the left."""
    index = slice_to_show(case)
    hu, subtype = (array[:, :, index].numpy()[::-1, ::-1].T for array in (case.hu, case.subtype))
    low, high = WINDOW_HU
    grey = (np.clip((hu - low) / (high - low), 0, 1) * (GREYS - 1)).round() * 255 / (GREYS - 1)
    scan = Image.fromarray(grey.astype(np.uint8)).resize(TILE, Image.Resampling.BICUBIC)
    pixels = np.array(scan.convert("RGB"))
    for kind, color in COLORS.items():
        mask = Image.fromarray(((subtype == kind) * 255).astype(np.uint8)).resize(TILE, Image.Resampling.BICUBIC)
        inside = np.array(mask) > 127
        pixels[ndimage.binary_dilation(inside) & ~inside] = color
    return Image.fromarray(pixels)


def slice_to_show(case: Case) -> int:
    """The slice with most bleed; without bleed, that with most of what was put in, or a middle one."""
    seen = (case.subtype > 0) & (case.subtype != IGNORED)
    metal = (case.hu == 3071).sum(dim=(0, 1))
    if any(device.kind == "coil" for device in case.parameters.devices) and bool(metal.any()):
        return int(metal.argmax())
    if bool(seen.any()):
        return int(seen.sum(dim=(0, 1)).argmax())
    if case.parameters.devices:
        return int(2 * case.hu.shape[2] / 3)
    return int(case.hu.shape[2] * 0.55)


if __name__ == "__main__":
    page().save(PAGE, optimize=True)
