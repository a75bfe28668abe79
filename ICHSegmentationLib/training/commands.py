"""The commands of training: simulate, export, train, pack, bundle."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHSegmentationLib.errors import InputError, StoppedError, require_at_least
from ICHSegmentationLib.staging import Staging
from ICHSegmentationLib.training.options import add_beginning

if TYPE_CHECKING:
    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.training.cases import TrainingCases
    from ICHSegmentationLib.training.loop import Progress
    from ICHSegmentationLib.training.processes import Processes
    from ICHSegmentationLib.training.train import TrainingConfig


def add_commands(commands: Any) -> None:
    """Adds them to the subparsers of `ich`."""
    simulate = commands.add_parser("simulate", help="simulate head CTs with bleeds from label maps")
    simulate.add_argument("label_maps", type=Path, help="folder of whole-head label maps (see simulation/anatomy.py)")
    simulate.add_argument("--out", type=Path, required=True, help="folder for the cases; goes on where it stopped")
    wanted = simulate.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--cases", type=int, help="how many")
    wanted.add_argument("--replay", type=Path, metavar="CASE.json", help="one case again, from what was drawn for it")
    simulate.add_argument("--first", type=int, default=0, help="number of the first case, to share the work")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.set_defaults(command=run_simulate)

    export = commands.add_parser("export", help="write simulated cases as an nnU-Net raw data set")
    export.add_argument("pool", type=Path, help="folder of `ich simulate`")
    export.add_argument("--out", type=Path, required=True, help="folder for imagesTr, labelsTr and dataset.json")
    export.add_argument("--subtypes", action="store_true", help="labels 1 to 5 for IPH, IVH, SAH, SDH, EDH, not one")
    export.set_defaults(command=run_export)

    train = commands.add_parser("train", help="train one member of an ensemble")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="nnU-Net raw data set, or folder of `ich simulate`")
    source.add_argument("--simulate", type=Path, metavar="LABEL_MAPS", help="simulate cases while training")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, if there is one")
    add_beginning(train)
    train.add_argument("--config", type=Path, help="JSON with more of train.TrainingConfig, e.g. a run's config.json")
    train.add_argument("--member", type=int, help="which of the ensemble (default: 0)")
    train.add_argument("--seed", type=int, help="of the ensemble (default: 0)")
    train.add_argument("--steps", type=int, help="default: the paper's 200,000")
    train.add_argument("--batches-per-step", type=int, help="shared by the processes of torchrun (default: 1)")
    train.add_argument("--precision", help="float32 or bfloat16 (default: float32)")
    train.add_argument("--hard", type=Path, metavar="FILE", help="of `ich mine`: half of the batches are taken there")
    train.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, with a checkpoint")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    train.add_argument("--splits", type=Path, help="nnU-Net's splits_final.json: member K takes fold K")
    train.add_argument("--pool", type=Path, help="where cases are kept, for all members (default: beside --out)")
    train.add_argument("--cases", type=int, default=1000, help="with --simulate: how many (default: 1000)")
    train.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="with --simulate")
    train.add_argument("--simulation-seed", type=int, default=0, help="with --simulate: of the cases (default: 0)")
    train.set_defaults(command=run_train, takes_signals=True)

    mining = commands.add_parser("mine", help="find where a network is wrong on its cases, to train from there")
    mining.add_argument("source", type=Path, metavar="RUN_OR_BUNDLE")
    mining.add_argument("--data", type=Path, required=True, help="folder of `ich simulate`, or pool of an import")
    mining.add_argument("--out", type=Path, required=True, help="file, e.g. hard.json, for `ich train --hard`")
    mining.add_argument("--quality", default="fast", help="auto, full or fast (default: fast)")
    mining.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    mining.set_defaults(command=run_mine)

    pack = commands.add_parser("pack", help="pack label maps into one small file for a lent machine")
    pack.add_argument("label_maps", type=Path, help="folder of whole-head label maps")
    pack.add_argument("--out", type=Path, required=True, help="file, e.g. heads.npz; see training/job.py")
    pack.set_defaults(command=run_pack)

    bundle = commands.add_parser("bundle", help="make an ensemble of trained runs")
    bundle.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN", help="folders of `ich train`, and bundles: all their members"
    )
    bundle.add_argument("--out", type=Path, required=True)
    bundle.add_argument("--name", required=True)
    bundle.add_argument("--version", required=True)
    bundle.add_argument("--threshold", type=float, default=0.5)
    bundle.add_argument(
        "--average", action="store_true", help="one member, the mean of all their weights: for runs of one line"
    )
    bundle.add_argument(
        "--towards", type=Path, metavar="RUN", help="move each member's weights a share of the way to this run's"
    )
    bundle.add_argument("--share", type=float, help="with --towards (default: 0.5)")
    bundle.add_argument("--trained-on", required=True, help="the training data, in words, for the manifest")
    bundle.set_defaults(command=run_bundle)


def run_simulate(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.simulation.label_maps import load_anatomies
    from ICHSegmentationLib.training.pool import simulate_pool

    if options.replay is not None:
        run_replay(options)
        return
    require_at_least(1, {"--cases": options.cases})
    require_at_least(0, {"--first": options.first, "--seed": options.seed})
    claim_for_simulation(options.out, options.label_maps, options.seed)
    anatomies = load_anatomies(options.label_maps, cache=options.out / "anatomies")
    numbers = range(options.first, options.first + options.cases)
    with Bar() as bar:
        for done, _ in enumerate(simulate_pool(anatomies, options.out, numbers, options.seed), 1):
            bar.show("simulating", done / len(numbers), f"case {done} of {len(numbers)}")
    print(f"{len(numbers)} cases in {options.out}")


def run_replay(options: argparse.Namespace) -> None:
    from ICHSegmentationLib.training.replay import equals, replay

    folder = replay(options.replay, options.label_maps, options.out)
    stored = options.replay.resolve().parent
    print(f"the case of {options.replay} in {folder}")
    if (stored / "hu.npy").exists():
        same = equals(stored, folder)
        print("The same to the last bit as the stored one." if same else "NOT the same as the stored one.")


def claim_for_simulation(pool: Path, label_maps: Path, seed: int) -> None:
    from ICHSegmentationLib.simulation.case import EDITION
    from ICHSegmentationLib.simulation.label_maps import label_map_files
    from ICHSegmentationLib.training.pool import claim

    names = [path.name for path in label_map_files(label_maps)]
    claim(pool, {"simulation seed": seed, "simulator edition": EDITION, "label maps": names})


def run_export(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.data.nnunet import BLEED_LABELS, SIMULATED, SUBTYPE_LABELS, write_nnunet_raw
    from ICHSegmentationLib.training.importing import AS_BLEED, AS_SUBTYPES, labelled_scan
    from ICHSegmentationLib.training.pool import case_folders

    folders = case_folders(options.pool)
    if not folders:
        raise InputError(f"{options.pool} holds no complete case; a folder of `ich simulate` is wanted.")
    values, labels = (AS_SUBTYPES, SUBTYPE_LABELS) if options.subtypes else (AS_BLEED, BLEED_LABELS)
    with staging.folder(options.out, overwrite=False) as out:
        count = write_nnunet_raw((labelled_scan(folder, values) for folder in folders), out, labels, SIMULATED)
    print(f"{count} cases as an nnU-Net raw data set in {options.out}")


def run_train(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.training.hard_places import read_places
    from ICHSegmentationLib.training.loop import Sitting
    from ICHSegmentationLib.training.processes import joined_processes, own_device
    from ICHSegmentationLib.training.sources import source_for
    from ICHSegmentationLib.training.train import train

    config = wished_config(options)
    start = None if options.start is None else source_for(options.start, config.member)
    if start is not None:
        config = start.beginning(config)
    hard = None if options.hard is None else read_places(options.hard)
    config = dataclasses.replace(config, hard_places="" if hard is None else hard.sha256)
    if not options.minutes > 0:
        raise InputError(f"--minutes must be more than 0; found {options.minutes}.")
    device = own_device(pick_device(options.device))
    with joined_processes(device) as processes:
        if not processes.is_first:
            processes.wait()  # for the first to have read the data set, or measured the heads
        with cases_for(options, config, processes) as cases, Bar() as bar:
            if processes.is_first:
                processes.wait()
            cases = cases if hard is None else cases.with_hard(hard)
            sitting = Sitting(options.resume, options.minutes, on_step=lambda progress: show_training(bar, progress))
            weights = None if start is None else start.weights_for(config.network)
            run = train(config, cases, options.out, device, sitting, weights)
        is_first = processes.is_first
    where = f"member {config.member} stands at step {run.step} of {config.steps} in {options.out}"
    if run.stopped_by_signal:
        raise StoppedError(f"stopped: {where}; --resume goes on.")
    if is_first:
        print(where[0].upper() + where[1:])
        if run.best_score is not None:
            print(f"Best score on cases it did not train on: {run.best_score:.3f} at step {run.best_step}")


def run_mine(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.training.hard_places import write_places
    from ICHSegmentationLib.training.mining import as_ensemble, mine
    from ICHSegmentationLib.training.pool import read_case
    from ICHSegmentationLib.training.sources import sources_of

    sources = sources_of(options.source)
    folders = cases_in(options.data)
    cases = (read_case(folder) for folder in folders)
    found = {}
    with Bar() as bar:
        for name, places in mine(cases, as_ensemble(sources), options.quality, options.device):
            found[name] = places
            bar.show("mining", len(found) / len(folders), f"case {len(found)} of {len(folders)}")
    write_places(options.out, found, {"network": [source.told for source in sources], "quality": options.quality})
    missed, false = (sum(getattr(places, kind) for places in found.values()) for kind in ("missed_ml", "false_ml"))
    print(f"{missed:.0f} mL missed and {false:.0f} mL false on {len(found)} cases; places in {options.out}")


def wished_config(options: argparse.Namespace) -> TrainingConfig:
    """The preset's configuration, what the file changes, what the options change."""
    from ICHSegmentationLib.training.train import chosen_config

    config = chosen_config(options.preset, options.config)
    names = ("member", "seed", "steps", "batches_per_step", "precision")
    wishes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    config = dataclasses.replace(config, **wishes)
    config.check()
    return config


@contextmanager
def cases_for(options: argparse.Namespace, config: TrainingConfig, processes: Processes) -> Iterator[TrainingCases]:
    """The member's cases; while they are used, others may be simulated."""
    from ICHSegmentationLib.training.cases import cases_of, cases_of_fold

    if options.simulate is not None:
        if options.splits is not None:
            raise InputError("--splits names cases of --data; simulated ones are parted by their heads.")
        with simulated_cases(options, config, processes) as cases:
            yield cases
        return
    data, share = options.data, config.subset
    folders = imported(options) if (data / "dataset.json").exists() else cases_in(data)
    if options.splits is not None:
        yield cases_of_fold(folders, options.splits, config.member)
    else:
        yield cases_of(folders, share, config.seed, config.member)


def cases_in(data: Path) -> list[Path]:
    from ICHSegmentationLib.training.pool import case_folders

    if folders := case_folders(data):
        return folders
    if not data.is_dir():
        raise InputError(f"there is no folder {data}.")
    raise InputError(
        f"{data} holds no complete case of `ich simulate`, and no dataset.json of an nnU-Net raw data set; one of the "
        "two is wanted."
    )


def imported(options: argparse.Namespace) -> list[Path]:
    from ICHSegmentationLib.cli import Bar
    from ICHSegmentationLib.data.nnunet import read_raw
    from ICHSegmentationLib.training.importing import import_raw

    with Bar() as bar:

        def on_case(done: int, count: int) -> None:
            bar.show("reading the data set", done / count, f"case {done} of {count}")

        return import_raw(read_raw(options.data), pool_beside(options, options.data), on_case)


@contextmanager
def simulated_cases(
    options: argparse.Namespace, config: TrainingConfig, processes: Processes
) -> Iterator[TrainingCases]:
    """The cases of a pool that is being filled. Of several processes the first simulates, the others wait for it."""
    from ICHSegmentationLib.simulation.label_maps import load_anatomies
    from ICHSegmentationLib.training.cases import cases_to_come
    from ICHSegmentationLib.training.simulating import Simulators

    pool, seed, count = pool_beside(options, options.simulate), options.simulation_seed, options.cases
    require_at_least(1, {"--cases": count, "--workers": options.workers})
    require_at_least(0, {"--simulation-seed": seed})
    claim_for_simulation(pool, options.simulate, seed)
    load_anatomies(options.simulate, cache=pool / "anatomies")
    anatomies = sorted((pool / "anatomies").glob("*.npz"))
    to_come = cases_to_come(pool, count, seed, len(anatomies), config.subset, config.seed, config.member)
    if not processes.is_first:
        yield to_come
        return
    with Simulators(anatomies, pool, count, seed, options.workers) as simulators:
        yield dataclasses.replace(to_come, check=simulators.check)


def pool_beside(options: argparse.Namespace, source: Path) -> Path:
    if options.pool is not None:
        return options.pool
    return options.out.resolve().parent / f"{source.resolve().name}-pool"


def show_training(bar: Bar, progress: Progress) -> None:
    score = "" if progress.score is None else f", Dice {progress.score:.3f}"
    detail = (
        f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}{score}, {progress.seconds_left / 60:.0f} "
        f"min left, {progress.waiting_share:.0%} of the time waiting for data"
    )
    bar.show("training", progress.step / progress.steps, detail)


def run_pack(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.simulation.label_maps import label_map_files, read_labels
    from ICHSegmentationLib.training.packing import LabelledHead, pack_heads

    files = label_map_files(options.label_maps)
    heads = (LabelledHead(file.name.split(".")[0], *read_labels(file)) for file in files)
    size = pack_heads(heads, options.out)
    print(f"{len(files)} heads in {options.out}, {size / 2**20:.1f} MiB")


def run_bundle(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.bundle import read_manifest
    from ICHSegmentationLib.training.bundling import bundle_runs

    with staging.folder(options.out, overwrite=False) as folder:
        bundle_runs(
            options.folders,
            folder,
            options.name,
            options.version,
            options.threshold,
            options.trained_on,
            options.average,
            options.towards,
            options.share,
        )
    manifest = read_manifest(options.out)
    count = len(manifest.files)
    print(f"{count} member{'s' if count > 1 else ''} in {options.out}, SHA-256 {manifest.sha256}")
