"""A run folder: whose it is and with what settings, its networks, and how they share the minutes."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ICHSegmentationLib.errors import InputError, StoppedError
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, Run
from ICHSegmentationLib.training.processes import Processes
from ICHSegmentationLib.training.tensor_file import read_metadata

RUN, USED = "run.json", "used.json"
Settings = TypeVar("Settings")
Result = TypeVar("Result")


def begin_run(out: Path, name: str, settings: Any, seed: int, networks: int) -> None:
    """Notes in `out` whose run it is, and of how many networks (which may change from sitting to sitting).

    Raises:
        InputError: a run of another system, of other settings or of another seed is there.
    """
    described = json.loads(json.dumps({"system": name, "settings": dataclasses.asdict(settings), "seed": seed}))
    path = out / RUN
    if path.exists():
        there = json.loads(path.read_text())
        other = [key for key in described if there.get(key) != described[key]]
        if other:
            raise InputError(
                f"{out} holds a run of the system {there.get('system')!r} with seed {there.get('seed')}, of which the "
                f"{' and the '.join(other)} differ from this one; name another folder."
            )
    write_json(path, described | {"networks": networks})


def read_settings(run: Path, name: str, kind: type[Settings]) -> Settings:
    """The settings of a run of a certain system.

    Raises:
        InputError: there is no run, or another system's.
    """
    path = run / RUN
    if not path.exists():
        raise InputError(f"{run} holds no run: there is no {RUN}; a folder of `ich train-system` is wanted.")
    values = json.loads(path.read_text())
    if values["system"] != name:
        raise InputError(f"{run} holds a run of {values['system']!r}; one of {name!r} is wanted.")
    return from_json(kind, values["settings"])


def trained_networks(run: Path) -> list[Path]:
    """The folders of the run's networks that have seen a step, in order.

    Raises:
        InputError: there are none.
    """
    folders = sorted(run.glob(f"network_*/{CHECKPOINT}"), key=lambda path: number_of(path.parent))
    if not folders:
        raise InputError(f"{run} holds no trained network yet; train it first.")
    trained = [path.parent for path in folders if int(read_metadata(path)["step"]) > 0]
    if not trained:
        raise InputError(f"none of the {len(folders)} networks in {run} has seen a step; more minutes are wanted.")
    return trained


def number_of(folder: Path) -> int:
    """K of `network_K`."""
    return int(folder.name.split("_")[1])


def in_turn(processes: Processes, work: Callable[[], Result]) -> Result:
    """What `work` gives; of several processes the first does it alone and leaves files that the others find."""
    if not processes.is_first:
        processes.wait()
    result = work()
    if processes.is_first:
        processes.wait()
    return result


def refuse_to_go_on(run: Run, folder: Path) -> None:
    """Raises a StoppedError if a signal ended this sitting, so that no further network is begun."""
    if run.stopped_by_signal:
        raise StoppedError(f"stopped at step {run.step} of {folder}; the same command goes on from there.")


class Shares:
    """The minutes of a budget, divided fairly: what one network leaves, the next ones share.

    What each network used is kept in the folder's `used.json`, so that all sittings together have one budget.

    Args:
        minutes: of all networks together; what earlier sittings used is taken off.
        folder: of the run.
    """

    def __init__(self, minutes: float, folder: Path) -> None:
        self.minutes, self.file = minutes, folder / USED
        told = json.loads(self.file.read_text())["seconds"] if self.file.exists() else {}
        self.used_s = {int(network): float(seconds) for network, seconds in told.items()}
        self.network, self.before_s, self.started = 0, 0.0, time.monotonic()

    @property
    def used_minutes(self) -> float:
        return sum(self.used_s.values()) / 60

    def next(self, network: int, networks: int) -> float:
        """Minutes that network number `network` of so many still has; 0 when all are used. Its clock starts here."""
        self.network, self.before_s, self.started = network, self.used_s.get(network, 0.0), time.monotonic()
        earlier_s = sum(seconds for number, seconds in self.used_s.items() if number < network)
        share = (self.minutes - earlier_s / 60) / (networks - network)
        return max(0.0, share - self.before_s / 60)

    def note(self) -> None:
        """Keeps what the network has used by now: to be called with every checkpoint."""
        self.used_s[self.network] = self.before_s + time.monotonic() - self.started
        write_json(self.file, {"seconds": self.used_s})


def from_json(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings that `dataclasses.asdict` and JSON made `values` of.

    Raises:
        InputError: a name is unknown.
    """
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise InputError(f"{kind.__name__} has no setting {', '.join(map(repr, unknown))}.")
    arguments = {}
    for name, value in values.items():
        nested = dataclasses.is_dataclass(hints[name]) and isinstance(value, dict)
        arguments[name] = from_json(hints[name], value) if nested else as_tuples(value)
    return kind(**arguments)


def changed(settings: Settings, values: dict[str, Any]) -> Settings:
    """The settings with those in `values` (JSON, nested alike) in place of their own.

    Raises:
        InputError: a name is unknown.
    """
    return from_json(type(settings), merged(dataclasses.asdict(settings), values))  # type: ignore[call-overload]


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the values of `new` in place of its own, level by level."""
    both = {
        name: merged(old[name], value) if isinstance(value, dict) and isinstance(old.get(name), dict) else value
        for name, value in new.items()
    }
    return old | both


def as_tuples(value: Any) -> Any:
    """JSON's lists as tuples, all the way down."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value
