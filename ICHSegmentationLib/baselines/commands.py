"""The commands of the papers' systems: train one, predict with one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.staging import Staging
from ICHSegmentationLib.terminology import DISCLAIMER

if TYPE_CHECKING:
    from ICHSegmentationLib.baselines.system import System

SYSTEMS = "scan-e3nn, so3-steerable, se-unet, nnunet, coarse-fine or gcnn"


def add_commands(commands: Any) -> None:
    """Adds them to the subparsers of `ich`."""
    train = commands.add_parser("train-system", help="train one of the papers' systems on an nnU-Net raw data set")
    train.add_argument("system", help=SYSTEMS)
    train.add_argument("--data", type=Path, required=True, help="folder with imagesTr, labelsTr and dataset.json")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; goes on where it stopped")
    train.add_argument(
        "--steps", type=int, help="of each network (default: the paper's; nnunet, coarse-fine want them with --minutes)"
    )
    train.add_argument("--minutes", type=float, default=math.inf, help="of training, for all networks and sittings")
    train.add_argument("--networks", type=int, help="members or folds (default: the paper's)")
    train.add_argument("--config", type=Path, help="JSON with other settings than the paper's, e.g. of a run.json")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    train.set_defaults(command=run_train_system, takes_signals=True)

    predict = commands.add_parser("predict", help="find bleed with a trained system, a mask for each scan")
    predict.add_argument("system", help=SYSTEMS)
    predict.add_argument("run", type=Path, help="folder of `ich train-system`")
    predict.add_argument("inputs", type=Path, nargs="+", help="scans, or folders of NIfTI, NRRD or MetaImage files")
    predict.add_argument("--out", type=Path, required=True, help="folder for CASE.nii.gz, as `ich evaluate` reads it")
    predict.add_argument("--probabilities", action="store_true", help="write CASE_probability.nii.gz too")
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    predict.add_argument("--overwrite", action="store_true", help="replace results that are there")
    predict.set_defaults(command=run_predict)


def run_train_system(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.baselines.runs import changed, trained_networks
    from ICHSegmentationLib.baselines.system import Budget
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.training.processes import joined_processes, own_device

    budget = Budget(options.steps, options.minutes, options.networks)
    system = system_named(options.system)
    if options.config is not None:
        system = dataclasses.replace(
            cast("Any", system), settings=changed(system.settings, read_config(options.config))
        )
    device = own_device(pick_device(options.device))
    with joined_processes(device) as processes:
        system.train(options.data, options.out, budget, device, options.seed)
        if not processes.is_first:
            return
    count, parameters = len(trained_networks(options.out)), system.load(options.out, device).parameters
    print(
        f"{system.title} ({system.paper}): {count} trained networks, {parameters} parameters in use, in {options.out}"
    )


def refuse_other_masks(folder: Path, ours: set[str]) -> None:
    """Raises if masks of other scans lie there: they might be judged as if they were of this run."""
    there = {path.name for path in folder.glob("*.nii.gz")} if folder.is_dir() else set()
    if others := sorted(there - ours):
        raise InputError(f"{folder} holds {others[0]}, which is of no scan of this run; name another folder.")


def run_predict(options: argparse.Namespace, staging: Staging) -> None:
    import numpy as np

    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.image_files import write_image_file
    from ICHSegmentationLib.volume import read_volume

    scans = named_scans(options.inputs)
    refuse_other_masks(options.out, {f"{name}{kind}.nii.gz" for name in scans for kind in ("", "_probability")})
    predictor = system_named(options.system).load(options.run, pick_device(options.device))
    notes = {"ITK_FileNotes": DISCLAIMER}  # becomes the header's description
    with staging.folder(options.out, options.overwrite) as folder, Bar() as bar:
        for done, (name, path) in enumerate(scans.items()):
            bar.show("predicting", done / len(scans), name)
            volume = read_volume(path)
            probability = predictor.probability(volume)
            mask = predictor.mask(volume, probability).astype(np.uint8)
            write_image_file(folder / f"{name}.nii.gz", mask, volume.affine, notes)
            if options.probabilities:
                write_image_file(folder / f"{name}_probability.nii.gz", probability, volume.affine, notes)
    print(f"{len(scans)} masks in {options.out}")
    print(DISCLAIMER)


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a JSON file; of a run.json those of its system.

    Raises:
        InputError: it cannot be read, or is no object.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no settings: {error}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}; a JSON object of settings is wanted.")
    return values.get("settings", values)


def system_named(name: str) -> System:
    """The system of that name, with its paper's settings.

    Raises:
        InputError: there is none.
    """
    from ICHSegmentationLib.baselines.system import systems

    found = systems()
    if name not in found:
        raise InputError(f"the system must be one of {', '.join(found)}; found {name!r}.")
    return found[name]


def named_scans(inputs: list[Path]) -> dict[str, Path]:
    """Name of each case (without nnU-Net's channel number) -> its file or DICOM folder.

    Raises:
        InputError: two cases have the same name.
    """
    from ICHSegmentationLib.data.folders import case_of, image_files
    from ICHSegmentationLib.data.nnunet import CHANNEL

    scans: dict[str, Path] = {}
    for path in inputs:
        images = image_files(path) if path.is_dir() else {}
        for case, scan in (images or {case_of(path): path}).items():
            name = case.removesuffix(CHANNEL)
            if name in scans:
                raise InputError(f"{scans[name]} and {scan} would both be written as {name}.nii.gz; rename one.")
            scans[name] = scan
    return scans
