"""What the commands that train have in common: data, systems, settings, budget."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHSegmentationLib.errors import InputError, require_at_least

if TYPE_CHECKING:
    from ICHSegmentationLib.baselines.system import Budget
    from ICHSegmentationLib.evaluation.comparison import Entrant


def add_data(command: argparse.ArgumentParser) -> None:
    """What is trained and judged on."""
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="nnU-Net raw folder; its labelsTs, if there, are judged on")
    source.add_argument("--simulate", action="store_true", help="a small set of simulated heads, made in OUT/data")
    command.add_argument("--test-share", type=float, default=0.25, help="of the cases, without labelsTs")


def add_training(command: argparse.ArgumentParser) -> None:
    """How much, where and how systems train."""
    command.add_argument("--steps", type=int, help="of each network (default: the paper's)")
    command.add_argument("--minutes", type=float, default=math.inf, help="of each system, over all its networks")
    command.add_argument("--networks", type=int, help="members or folds of each system (default: the paper's)")
    command.add_argument("--settings", type=Path, help="JSON of systems' settings that differ: {SYSTEM: {...}}")
    command.add_argument("--catalogue", help="MODULE:FUNCTION that gives systems by name, instead of the papers'")
    command.add_argument("--device", default="auto")
    command.add_argument("--seed", type=int, default=0)


def seed_of(options: argparse.Namespace) -> int:
    """The seed that was named.

    Raises:
        InputError: it is negative.
    """
    require_at_least(0, {"--seed": options.seed})
    return int(options.seed)


def data_of(options: argparse.Namespace) -> Path:
    """The data set that was named, or a small simulated one, made now if it is not there."""
    if not options.simulate:
        return options.data
    from ICHSegmentationLib.evaluation.small_set import SmallSet, write_small_set

    folder = options.out / "data"
    write_small_set(SmallSet(seed=seed_of(options)), folder, tell)
    return folder


def entrants_of(options: argparse.Namespace) -> list[Entrant]:
    """The systems that were named, each with what differs of its settings.

    Raises:
        InputError: a name or the settings file is unknown or wrong.
    """
    from ICHSegmentationLib.evaluation.child import find_system, load_catalogue
    from ICHSegmentationLib.evaluation.comparison import Entrant

    catalogue = catalogue_of(options)
    known = list(load_catalogue(catalogue))
    names = known if options.systems == "all" else options.systems.split(",")
    settings = settings_of(options.settings, known)
    entrants = []
    for name in names:
        system = find_system(catalogue, name, settings.get(name, {}))  # says now what would fail later
        if options.runs is None:
            system.check(budget_of(options))
        run = None if options.runs is None else options.runs / name
        if run is not None and not run.is_dir():
            raise InputError(f"there is no run {run}; --runs wants a folder with one for each of {', '.join(names)}.")
        entrants.append(Entrant(name, name, settings.get(name, {}), run, catalogue))
    return entrants


def catalogue_of(options: argparse.Namespace) -> str:
    """The MODULE:FUNCTION that was named, or the papers' systems."""
    from ICHSegmentationLib.evaluation.child import CATALOGUE

    return options.catalogue or CATALOGUE


def settings_of(path: Path | None, known: list[str]) -> dict[str, dict[str, Any]]:
    """The content of a settings file."""
    if path is None:
        return {}
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no settings file: {error}.") from None
    if not isinstance(settings, dict) or not all(isinstance(value, dict) for value in settings.values()):
        raise InputError(f"{path} is no settings file: an object of objects, one for each system, is wanted.")
    if unknown := sorted(set(settings) - set(known)):
        raise InputError(f"{path} has settings for {', '.join(unknown)}; known are {', '.join(known)}.")
    return settings


def budget_of(options: argparse.Namespace) -> Budget:
    from ICHSegmentationLib.baselines.system import Budget

    return Budget(options.steps, options.minutes, options.networks)


def setting_of(options: argparse.Namespace, training: int, tests: int) -> dict[str, Any]:
    """What was compared, for whoever reads the table later."""
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.report import versions

    limit = "no limit" if math.isinf(options.minutes) else f"{options.minutes:g} minutes"
    return {
        "data": data_in_words(options),
        "cases": f"{training} to train on, {tests} to judge on",
        "budget a system": f"{limit}, steps {options.steps or 'of the paper'}, networks {options.networks or 'all'}",
        "settings that differ": str(options.settings or "none"),
        "device": f"{pick_device(options.device)}, {os.cpu_count()} cores",
        "seed": options.seed,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def data_in_words(options: argparse.Namespace) -> str:
    """What was trained or judged on, for tables and figures: whoever sees them must know that heads are simulated."""
    from ICHSegmentationLib.data.nnunet import SIMULATED, read_description
    from ICHSegmentationLib.evaluation.small_set import DESCRIPTION

    if options.data is None:
        return f"{SIMULATED}: evaluation/small_set.py"
    told = read_description(options.data).get("description") == SIMULATED
    simulated = told or (options.data / DESCRIPTION).exists()  # small sets of earlier versions do not tell
    return f"{f'{SIMULATED}: ' if simulated else ''}{options.data.name or options.data}"


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
