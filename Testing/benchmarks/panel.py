"""Time from a click to the result in the panel, and what the panel adds to the library: on the demo volume, on a CPU.

The panel runs on the tests' host (Slicer's real MRML code, stand-in widgets) with a real worker. Its own part of a run
is what remains of the time from click to shown result after the worker's inference, as the worker measured it in the
same run. `python Testing/benchmarks/panel.py`
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

OWN_LIMIT_S = 2.0
LONGEST_WAIT_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="with a warm worker")
    runs = parser.parse_args().runs
    testing = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(testing.parent), str(testing / "slicer"), str(testing)]
    import host

    if reason := host.why_not():
        sys.exit(reason)
    from ICHSegmentationLib.mrml import volume_of_node

    panel = opened()
    volume = volume_of_node(panel.parameters.inputVolume)
    print(f"demo volume {volume.hu.shape}, {[round(step, 2) for step in volume.spacing_mm]} mm")
    own = []
    for run in range(runs + 1):
        started = time.perf_counter()
        statistics = clicked(panel)
        total_s = time.perf_counter() - started
        inference_s = statistics["seconds"]["inference"]
        what = "warm worker" if run else "cold (the worker starts, torch loads)"
        print(f"click to result, {what}: {total_s:.1f} s, of it inference {inference_s:.1f} s")
        if run:
            own.append(total_s - inference_s)
    panel.logic.close()
    print(f"bare library, warm, in one process: {bare_library_s(volume):.1f} s for inference and lesions")
    print(f"the module's own part with a warm worker: {min(own):.2f} s at best, {np.median(own):.2f} s in the middle")
    if min(own) > OWN_LIMIT_S:
        sys.exit(f"more than {OWN_LIMIT_S} s")


def opened() -> Any:
    """The panel on the generated head of `make demo`."""
    from host.application import start
    from host.scripted import load_module

    start()
    from panel_helpers import MODULE, add_demo_volume

    add_demo_volume()
    panel = load_module(MODULE).widget
    panel.ui.deviceEdit.text = "cpu"
    return panel


def clicked(panel: Any) -> dict[str, Any]:
    """Clicks Segment and waits until the result is shown; its statistics."""
    import slicer

    panel.ui.segmentButton.click()
    slicer.app.wait_until(lambda: panel.logic.job is None, LONGEST_WAIT_S)
    if panel.result.found is None:
        sys.exit(panel.ui.problemLabel.text)
    return panel.result.found.statistics


def bare_library_s(volume: Any) -> float:
    """Seconds of `segment` and `find_lesions` on the same volume, the second time."""
    from ICHSegmentationLib.ensemble import load_bundle
    from ICHSegmentationLib.inference import segment
    from ICHSegmentationLib.lesions import find_lesions

    ensemble = load_bundle()
    for _ in range(2):
        started = time.perf_counter()
        segmentation = segment(volume, ensemble, device="cpu")
        find_lesions(segmentation.mask, segmentation.volume)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
