"""Turns that were measured, a file for each system and case: an experiment of an hour goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ICHSegmentationLib.baselines.runs import RUN, USED
from ICHSegmentationLib.evaluation.experiments.rotation import Measure, Turn
from ICHSegmentationLib.evaluation.experiments.trained import begun_run
from ICHSegmentationLib.evaluation.experiments.turning import Patient
from ICHSegmentationLib.evaluation.jobs import OnNews
from ICHSegmentationLib.staging import write_json


class KeptTurns:
    """A `rotation.Kept`: what was measured of the same run, patient and angles is read, the rest measured and kept.

    Args:
        folder: of the files.
        runs: the folder that the systems' runs lie in.
        angles_deg: that are asked for.
        on_news: is told in a sentence what is begun.
    """

    def __init__(self, folder: Path, runs: Path, angles_deg: Sequence[float], on_news: OnNews) -> None:
        self.folder, self.runs, self.angles_deg, self.on_news = folder, runs, list(angles_deg), on_news

    def __call__(self, system: str, patient: Patient, measure: Measure) -> list[Turn]:
        path, asked = self.folder / f"{system}_{patient.name}.json", self.asked(system, patient)
        if path.exists():
            there = json.loads(path.read_text())
            if there["asked"] == asked:
                return [Turn(**turn) for turn in there["turns"]]
        self.on_news(f"{system}: {patient.name} is turned ...")
        turns = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"asked": asked, "turns": [dataclasses.asdict(turn) for turn in turns]})
        return turns

    def asked(self, system: str, patient: Patient) -> dict[str, Any]:
        """What the turns depend on; a run that was trained again, or on, has used other minutes."""
        run = begun_run(self.runs / system)
        assert run is not None  # its system was loaded
        files = [run / name for name in (RUN, USED)]
        return {
            "angles_deg": self.angles_deg,
            "run": [file.read_text() for file in files if file.exists()],
            "scan": patient.digest(),
        }

    def remove(self) -> None:
        """Removes the files, once the results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
