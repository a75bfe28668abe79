"""Time of one simulated case of 256x256x32 voxels of 0.86x0.86x5 mm on one core. Part of `make bench`.

    python Testing/benchmarks/simulation.py [LABEL_MAPS]

Of the first of the label maps, measured anew (half a minute); without any, of a generated head.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.memory import keep_freed_memory
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.case import CaseParameters, simulate
from ICHSegmentationLib.simulation.label_maps import label_map_files, read_label_map
from ICHSegmentationLib.simulation.procedural import procedural_anatomy

PIXEL_MM, SLICE_MM, SLICES, WIDTH_MM = 0.86, 5.0, 32, 220.0
CASES = 6


def case_to_time(number: int) -> CaseParameters:
    """A drawn case, on the grid that is timed."""
    drawn = CaseParameters.draw(np.random.default_rng((0, number)), 1)
    pose = dataclasses.replace(drawn.pose, offset_mm=(0.0, 0.0, 0.0))
    protocol = dataclasses.replace(drawn.protocol, spacing_mm=(PIXEL_MM, PIXEL_MM, SLICE_MM), subslices=4)
    return dataclasses.replace(drawn, pose=pose, protocol=protocol, slices=SLICES, width_mm=(WIDTH_MM, WIDTH_MM))


def timed(anatomy: Anatomy) -> tuple[list[float], list[float]]:
    """Seconds of the wall clock and of the processor for each case, after one that warms up."""
    wall, processor = [], []
    for number in range(CASES + 1):
        parameters = case_to_time(number)
        started = time.perf_counter(), time.process_time()
        case = simulate(parameters, anatomy)
        assert tuple(case.hu.shape) == (256, 256, SLICES)
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    return wall[1:], processor[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label_maps", type=Path, nargs="?")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    if arguments.label_maps is None:
        anatomy = procedural_anatomy()
    else:
        anatomy = read_label_map(label_map_files(arguments.label_maps)[0])
    wall, processor = timed(anatomy)
    print(
        f"a case of 256x256x{SLICES}: median {statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f}), "
        f"{statistics.median(processor):.2f} s of the processor; limit 3 s on one core"
    )


if __name__ == "__main__":
    main()
