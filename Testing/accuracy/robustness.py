"""Judges a bundle by what must not matter: spacing, slice thickness, pose. Simulated heads that it never saw.

    python Testing/accuracy/robustness.py LABEL_MAPS --anatomies 17 18 19 --cases 8 --out robustness.json

Spacing: the same bleeding heads scanned at several spacings, Dice of each against its own truth. Poses: one scan
turned in all 24 ways that map the grid to itself. Rotations: the same heads turned at random in a scanner with cubic
voxels, so that partial volume is alike in all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.ensemble import Ensemble, load_bundle
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.memory import keep_freed_memory
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.case import IGNORED, Case, CaseParameters, simulate
from ICHSegmentationLib.simulation.label_maps import load_anatomies
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.volume import as_volume

LEAST_ML = 3.0
SPACINGS_MM = ((0.4, 5.0), (0.8, 5.0), (1.2, 5.0), (0.8, 2.5), (0.8, 7.0))  # in-plane, slices
CUBE_MM = 2.0  # the network's levels divide into these voxels: at 1.5 mm a head costs ten times the multiply-adds
SHOWN_MM = 96.0  # of the head, along z, for the comparison of spacings


def bleeding_heads(anatomies: list[Anatomy], count: int, seed: int, least_hu: float) -> Iterator[CaseParameters]:
    """Parameters of heads with a visible bleed in their middle, none of their bleeds less dense than `least_hu`.

    What a turn or another spacing does to an answer is seen on bleeds that are found at all.
    """
    for number in itertools.count():
        drawn = CaseParameters.draw(np.random.default_rng((seed, number)), len(anatomies))
        pose = dataclasses.replace(drawn.pose, offset_mm=(0.0, 0.0, 0.0))
        drawn = dataclasses.replace(drawn, pose=pose)
        if not drawn.bleeds or any(bleed.blood.hu < least_hu for bleed in drawn.bleeds):
            continue
        if seen_ml(simulate(at_spacing(drawn, 1.2, 5.0), anatomies[drawn.anatomy])) >= LEAST_ML:
            yield drawn
            count -= 1
        if count == 0:
            return


def at_spacing(drawn: CaseParameters, in_plane_mm: float, slice_mm: float) -> CaseParameters:
    protocol = dataclasses.replace(
        drawn.protocol, spacing_mm=(in_plane_mm, in_plane_mm, slice_mm), subslices=max(2, round(slice_mm / 1.25))
    )
    return dataclasses.replace(drawn, protocol=protocol, slices=round(SHOWN_MM / slice_mm))


def turned(drawn: CaseParameters, rng: np.random.Generator | None) -> CaseParameters:
    """The whole head in cubic voxels, turned at random about all axes; as drawn without `rng`."""
    pose = drawn.pose.undisturbed()
    if rng is not None:
        x, y, z = rng.uniform(-180, 180, 3)
        pose = dataclasses.replace(pose, rotation_deg=(float(x), float(y), float(z)))
    protocol = dataclasses.replace(drawn.protocol.undisturbed(), spacing_mm=(CUBE_MM,) * 3, subslices=2, table_mm=None)
    return dataclasses.replace(
        drawn, pose=pose, protocol=protocol, slices=round(210 / CUBE_MM), width_mm=(210.0, 210.0)
    )


def seen_ml(case: Case) -> float:
    seen = (case.subtype > 0) & (case.subtype != IGNORED)
    return float(seen.sum()) * float(np.prod(case.spacing_mm)) / 1000


def dice_of(
    case: Case, ensemble: Ensemble, quality: str, turn: Callable[[np.ndarray], np.ndarray] | None = None
) -> float:
    """Dice over the voxels that are not ignored; `turn` reorders the axes of scan and truth."""
    hu, label, spacing = case.hu.numpy(), case.subtype.numpy(), case.spacing_mm
    if turn is not None:
        came_from = turn(np.empty((0, 1, 2))).shape  # sizes that number the axes
        hu, label = np.ascontiguousarray(turn(hu)), turn(label)
        x, y, z = (spacing[axis] for axis in came_from)
        spacing = (x, y, z)
    found = segment(as_volume(hu, spacing), ensemble, quality).mask
    counted = label != IGNORED
    return dice(found & counted, (label > 0) & counted)


def quarter_turns() -> list[Callable[[np.ndarray], np.ndarray]]:
    """The 24 rotations of a grid onto itself."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                flip = tuple(axis for axis, sign in enumerate(signs) if sign < 0)
                turns.append(lambda a, order=order, flip=flip: np.flip(a.transpose(order), flip))
    return turns


def summarise(result: dict[str, dict[str, list[float]]]) -> None:
    """Prints the median Dice at the worst and the best setting of each kind, over the heads so far."""
    for kind, settings in result.items():
        if medians := {name: float(np.median(values)) for name, values in settings.items()}:
            best, worst = max(medians.values()), min(medians.values())
            print(f"{kind:10s} median Dice {worst:.3f} to {best:.3f}, drop {best - worst:.3f}  {medians}", flush=True)


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label_maps", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/anatomies"))
    parser.add_argument("--anatomies", type=int, nargs="+", required=True, help="which of the folder, from 0")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--least-hu", type=float, default=60.0, help="of every bleed of a head (36 to 84 are drawn)")
    parser.add_argument("--poses", type=int, default=24, help="the first so many of the 24")
    parser.add_argument("--rotations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--quality", default="full", help="fast resamples thin slices, and so minds a turn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ensemble = load_bundle(options.bundle)
    anatomies = load_anatomies(options.label_maps, options.cache, options.anatomies)
    result: dict[str, dict[str, list[float]]] = {"spacing": {}, "poses": {}, "rotations": {}}
    with torch.inference_mode():
        for done, drawn in enumerate(bleeding_heads(anatomies, options.cases, options.seed, options.least_hu)):
            print(f"head {done + 1} of {options.cases}", flush=True)
            anatomy = anatomies[drawn.anatomy]
            for in_plane, thick in SPACINGS_MM:
                case = simulate(at_spacing(drawn, in_plane, thick), anatomy)
                result["spacing"].setdefault(f"{in_plane} x {thick} mm", []).append(
                    dice_of(case, ensemble, options.quality)
                )
            case = simulate(at_spacing(drawn, 1.0, 5.0), anatomy)
            for number, turn in enumerate(quarter_turns()[: options.poses]):
                result["poses"].setdefault(str(number), []).append(dice_of(case, ensemble, options.quality, turn))
            for number in range(options.rotations + 1):
                rng = np.random.default_rng((options.seed, number)) if number else None
                case = simulate(turned(drawn, rng), anatomy)
                result["rotations"].setdefault(str(number), []).append(dice_of(case, ensemble, options.quality))
            summarise(result)
            if options.out:
                write_json(options.out, {"bundle_sha256": ensemble.sha256, "dice": result})


if __name__ == "__main__":
    main()
