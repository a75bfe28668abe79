"""Judges a bundle on bleeds of known volume that are put into the real head without bleed.

    python Testing/accuracy/inserted.py [--bundle DIR] [--quality fast] [--places 2] [--out figures.json]

The head, its noise, its bright rim, its tilt and its uneven slices are real; the blood is not: balls in the brain and
lenses on the inner table, some HU denser than brain, averaged over each slice and blurred as the scanner blurs. It
moves no tissue. Beside every figure stands that of a threshold in an eroded brain mask.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from real import rival_mask
from real_slices import SHARED_DATA
from scipy import ndimage

from ICHSegmentationLib.baselines.skull_strip import largest_piece
from ICHSegmentationLib.ensemble import load_bundle
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.inference import segment, volume_of
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.volume import read_volume

BALL_ML = (1.0, 3.0, 10.0, 30.0)
LENS_MM = (4.0, 8.0, 12.0)  # thickness
LENS_RADIUS_MM = 30.0
CONTRAST_HU = (12.0, 20.0, 30.0)  # above brain
BLUR_MM = 0.6  # standard deviation of the scanner's blur in the plane
SUBSLICES = 5
BONE_HU = 100.0
VAULT_CM2 = 80.0  # a slice whose cavity is smaller shows the skull base or the vertex


@dataclass(frozen=True)
class RealHead:
    """A scan with what placing blood needs. Arrays [x, y, z]."""

    volume: Volume
    cavity: np.ndarray  # bool, within the inner table
    depth_mm: np.ndarray  # below the inner table, in the plane of the slice
    brain_hu: float

    @classmethod
    def of(cls, volume: Volume) -> RealHead:
        """A scan stacked along z."""
        pixel_mm = volume.in_plane_spacing_mm
        cavity = np.stack([enclosed(volume.hu[:, :, z], pixel_mm[0]) for z in range(volume.hu.shape[2])], axis=2)
        depth = [ndimage.distance_transform_edt(cavity[:, :, z], pixel_mm) for z in range(cavity.shape[2])]
        return cls(volume, cavity, np.stack(depth, axis=2), float(np.median(volume.hu[cavity])))

    @cached_property
    def lifted_hu(self) -> np.ndarray:
        """What brings fluid up to brain: within a clot there is none."""
        x_mm, y_mm = self.volume.in_plane_spacing_mm
        smooth = ndimage.gaussian_filter(self.volume.hu, (2 / x_mm, 2 / y_mm, 0))
        return np.maximum(0, self.brain_hu - smooth) * self.cavity

    def distance_mm(self, centre_mm: np.ndarray, along_mm: np.ndarray) -> np.ndarray:
        """Of every voxel, moved along the normal by `along_mm` [z], to a point in RAS mm."""
        x, y = (np.arange(size) for size in self.volume.hu.shape[:2])
        rows, columns = self.volume.affine[:3, 0], self.volume.affine[:3, 1]
        origins = self.volume.origins_mm + along_mm[:, None] * self.volume.normal - centre_mm
        square = np.zeros(self.volume.hu.shape)
        for axis in range(3):
            square += (x[:, None, None] * rows[axis] + y[:, None] * columns[axis] + origins[:, axis]) ** 2
        return np.sqrt(square)

    def ball(self, centre_mm: np.ndarray, volume_ml: float) -> np.ndarray:
        """The share of every voxel that a ball takes, [x, y, z], before the scanner's blur."""
        return self.averaged(centre_mm, lambda distance_mm: distance_mm < ball_radius_mm(volume_ml))

    def lens(self, apex_mm: np.ndarray, thickness_mm: float, radius_mm: float = LENS_RADIUS_MM) -> np.ndarray:
        """The share that a lens takes which lies on the inner table, thickest at its apex."""

        def inside(distance_mm: np.ndarray) -> np.ndarray:
            return self.cavity & (self.depth_mm < thickness_mm * (1 - (distance_mm / radius_mm) ** 2))

        return self.averaged(apex_mm, inside)

    def averaged(self, centre_mm: np.ndarray, inside: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Mean over each slice's extent of `inside` of the distance to a centre."""
        extents_mm = self.volume.slice_extents_mm
        places = (np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5
        return np.mean([inside(self.distance_mm(centre_mm, place * extents_mm)) for place in places], axis=0)


@dataclass(frozen=True)
class Insertion:
    """A bleed that was put in."""

    kind: str  # "ball" or "lens"
    size: float  # mL of a ball, mm of a lens
    contrast_hu: float
    volume: Volume
    share: np.ndarray  # of every voxel that is blood
    true_ml: float


def ball_radius_mm(volume_ml: float) -> float:
    return float((volume_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3))


def enclosed(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """What bone encloses in one slice [x, y]: its largest piece."""
    margin = round(10 / pixel_mm)
    bone = ndimage.binary_closing(np.pad(hu > BONE_HU, margin), iterations=round(3 / pixel_mm))
    bone = bone[margin:-margin, margin:-margin]
    return largest_piece(ndimage.binary_fill_holes(bone) & ~bone & (hu > -50))


def bled_into(head: RealHead, kind: str, size: float, contrast_hu: float, share: np.ndarray) -> Insertion:
    """Blood `contrast_hu` denser than brain, or than what is denser than brain there (the bright rim); noise stays."""
    x_mm, y_mm = head.volume.in_plane_spacing_mm
    share = ndimage.gaussian_filter(share, (BLUR_MM / x_mm, BLUR_MM / y_mm, 0))
    hu = head.volume.hu + share * (head.lifted_hu + contrast_hu)
    bled = dataclasses.replace(head.volume, hu=np.asfortranarray(hu, np.float32))
    return Insertion(kind, size, contrast_hu, bled, share, volume_of(share, head.volume))


def insertions(head: RealHead, places: int, seed: int) -> Iterator[Insertion]:
    """Every size and contrast at some places, each drawn anew."""
    rng = np.random.default_rng(seed)
    pixel_cm2 = float(np.prod(head.volume.in_plane_spacing_mm)) / 100
    vault = head.cavity.sum((0, 1)) * pixel_cm2 >= VAULT_CM2
    pixel_mm = max(head.volume.in_plane_spacing_mm)
    table = np.argwhere(head.cavity & (head.depth_mm <= pixel_mm) & vault)

    def place(voxels: np.ndarray) -> np.ndarray:
        x, y, z = voxels[rng.integers(len(voxels))]
        return head.volume.origins_mm[z] + x * head.volume.affine[:3, 0] + y * head.volume.affine[:3, 1]

    for _ in range(places):
        for contrast_hu in CONTRAST_HU:
            for size_ml in BALL_ML:
                deep = np.argwhere((head.depth_mm > ball_radius_mm(size_ml) + 5) & vault)
                yield bled_into(head, "ball", size_ml, contrast_hu, head.ball(place(deep), size_ml))
            for size_mm in LENS_MM:
                yield bled_into(head, "lens", size_mm, contrast_hu, head.lens(place(table), size_mm))


def judge(inserted: Insertion, mask: np.ndarray, healthy_ml: float) -> dict[str, float]:
    """Dice and volume of a mask, less what was called in the healthy head."""
    true = inserted.share >= 0.5
    volume_ml = volume_of(mask, inserted.volume) - healthy_ml
    return {"dice": dice(mask, true), "found": float((mask & true).sum() / max(1, true.sum())), "volume_ml": volume_ml}


def told(kind: str, judged: list[dict]) -> str:
    """One line: medians over what was judged of one kind."""

    def median(system: str, figure: str) -> float:
        return float(np.median([each[system][figure] for each in judged]))

    errors = [abs(each["ensemble"]["volume_ml"] - each["true_ml"]) for each in judged]
    largest_ml = max(each["true_ml"] for each in judged)
    return (
        f"{kind:15s} {len(judged):3d}  Dice {median('ensemble', 'dice'):.2f} "
        f"(threshold {median('threshold', 'dice'):.2f})  voxels found {median('ensemble', 'found'):.0%}  "
        f"volume off by {np.median(errors):.1f} mL, at most {max(errors):.1f} of up to {largest_ml:.1f}"
    )


def summary(judged: list[dict]) -> list[str]:
    """Lines by kind, then by contrast, then by size."""
    lines = []
    for kind, unit in (("ball", "mL"), ("lens", "mm")):
        of_kind = [each for each in judged if each["kind"] == kind]
        for contrast_hu in CONTRAST_HU:
            lines.append(told(f"{kind}, +{contrast_hu:g} HU", [e for e in of_kind if e["contrast_hu"] == contrast_hu]))
        for size in sorted({each["size"] for each in of_kind}):
            lines.append(told(f"{kind} of {size:g} {unit}", [e for e in of_kind if e["size"] == size]))
    return lines


def main() -> None:
    settle_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--places", type=int, default=2, help="of every size and contrast")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ensemble = load_bundle(options.bundle)
    head = RealHead.of(read_volume(SHARED_DATA / "head-ct-dicom"))

    def answers(volume: Volume) -> dict[str, np.ndarray]:
        return {
            "ensemble": segment(volume, ensemble, options.quality).mask,
            "threshold": rival_mask(volume.hu, volume.in_plane_spacing_mm[0]),
        }

    healthy_ml = {system: volume_of(mask, head.volume) for system, mask in answers(head.volume).items()}
    judged = []
    for each in insertions(head, options.places, options.seed):
        figures = {system: judge(each, mask, healthy_ml[system]) for system, mask in answers(each.volume).items()}
        judged.append(
            {"kind": each.kind, "size": each.size, "contrast_hu": each.contrast_hu, "true_ml": each.true_ml, **figures}
        )
        print(
            f"{each.kind} of {each.size:g}, +{each.contrast_hu:g} HU, {each.true_ml:.1f} mL: "
            f"{figures['ensemble']['volume_ml']:.1f} mL, Dice {figures['ensemble']['dice']:.2f}",
            flush=True,
        )
    print("\n".join(summary(judged)))
    if options.out:
        write_json(options.out, {"bundle_sha256": ensemble.sha256, "healthy_ml": healthy_ml, "insertions": judged})


if __name__ == "__main__":
    main()
