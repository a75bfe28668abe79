"""Places where a trained network was wrong: a file of them, and how they are drawn from.

Most patches of most cases are right after a few thousand steps and teach little. The Girona system repeats its hard
cases (Abramova et al., INSTANCE 2022); here hard places are kept: voxels whose bleed was missed, and voxels that were
called bleed and are none. The file is made between two trainings (`mining`) and drawn from in the second, so that a
batch depends on its number alone, however often a run is stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.bundle import file_sha256
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.records import from_json, to_json
from ICHSegmentationLib.staging import write_json

MOST_ML = 4.0  # by which a case counts, so that a large bleed is not all that is seen


@dataclass(frozen=True)
class CasePlaces:
    """One case's errors. Places are flat indices into its voxels [x, y, z]."""

    missed_ml: float
    false_ml: float
    missed: tuple[int, ...]
    false: tuple[int, ...]

    @property
    def weights(self) -> tuple[float, float]:
        """How often the missed and the false places of this case are drawn, against those of others."""
        missed, false = (min(MOST_ML, ml) ** 0.5 for ml in (self.missed_ml, self.false_ml))
        return missed * bool(self.missed), false * bool(self.false)


@dataclass(frozen=True)
class HardPlaces:
    """The errors of many cases, by the cases' names; `sha256` names the file that they were read from."""

    cases: dict[str, CasePlaces]
    sha256: str = ""

    def among(self, names: Iterable[str]) -> HardPlaces:
        """Those of some cases only."""
        return HardPlaces({name: self.cases[name] for name in names if name in self.cases}, self.sha256)

    @cached_property
    def weights(self) -> np.ndarray:
        """[case, kind]: how often each is drawn; they sum to 1."""
        each = np.array([case.weights for case in self.cases.values()])
        return each / each.sum()

    def drawn(self, rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
        """A case and the places of one kind in it."""
        case, kind = np.unravel_index(int(rng.choice(self.weights.size, p=self.weights.ravel())), self.weights.shape)
        name = list(self.cases)[int(case)]
        return name, (self.cases[name].missed, self.cases[name].false)[int(kind)]


def write_places(path: Path, found: dict[str, CasePlaces], about: dict[str, Any]) -> None:
    """Writes the file; `about` says whose errors they are."""
    write_json(path, {**about, "cases": {name: to_json(places) for name, places in found.items()}})


def read_places(path: Path) -> HardPlaces:
    """The places in a file of `write_places`.

    Raises:
        InputError: it is no such file, or holds no place.
    """
    try:
        stored = json.loads(path.read_text())["cases"].items()
        cases = {name: from_json(CasePlaces, places) for name, places in stored}
    except (OSError, KeyError, TypeError, ValueError, AttributeError, InputError):
        raise InputError(f"{path} is no file of `ich mine`.") from None
    wrong = {name: places for name, places in cases.items() if sum(places.weights) > 0}
    if not wrong:
        raise InputError(f"{path} holds no place where the network was wrong.")
    return HardPlaces(wrong, file_sha256(path))
