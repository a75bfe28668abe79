"""The command line: `ich`, also `python -m ICHSegmentationLib`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHSegmentationLib.errors import ICHError, InputError, OutputError
from ICHSegmentationLib.terminology import DISCLAIMER

if TYPE_CHECKING:
    from ICHSegmentationLib.pipeline import SegmentationOptions

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    # torch reads this once, at its first large allocation: huge pages make fresh memory several times faster
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(name)s: %(message)s")
    staging = Staging()
    return run_interruptibly(lambda: guarded(lambda: options.command(options, staging)), staging)


def script() -> None:
    """The console script."""
    sys.exit(main())


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="ich", description=f"Segments and measures intracranial hemorrhage on head CT. {DISCLAIMER}"
    )
    top.add_argument("--verbose", action="store_true", help="say more about what is done")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment one scan")
    segment.add_argument("input", type=Path, help="DICOM folder, file or zip, NIfTI, NRRD or MetaImage")
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_segmentation_options(segment)
    segment.set_defaults(command=run_segment)

    demo = commands.add_parser("demo", help="segment a scan, or a generated head with a bleed of known volume")
    demo.add_argument("input", type=Path, nargs="?", help="a scan; without one a head is generated")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    demo.add_argument("--seed", type=int, default=1, help="of the generated head")
    add_segmentation_options(demo)
    demo.set_defaults(command=run_demo, overwrite=True)

    info = commands.add_parser("info", help="versions, devices and ensemble, for a bug report")
    info.add_argument("--bundle", type=Path, help="folder of another ensemble than the bundled one")
    info.set_defaults(command=run_info)

    simulate = commands.add_parser("simulate", help="simulate head CTs with bleeds from label maps")
    simulate.add_argument("label_maps", type=Path, help="folder of whole-head label maps (see simulation/anatomy.py)")
    simulate.add_argument("--out", type=Path, required=True, help="folder for the cases; goes on where it stopped")
    simulate.add_argument("--cases", type=int, required=True, help="how many")
    simulate.add_argument("--first", type=int, default=0, help="number of the first case, to share the work")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.set_defaults(command=run_simulate)

    train = commands.add_parser("train", help="train one member of an ensemble on simulated cases")
    train.add_argument("cases", type=Path, help="folder of cases from `ich simulate`")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; goes on from its checkpoint")
    train.add_argument("--preset", default="compact", help="a name of unet.PRESETS (default: compact)")
    train.add_argument("--member", type=int, default=0)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, default=200_000)
    train.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, with a checkpoint")
    train.add_argument("--device", default="auto")
    train.set_defaults(command=run_train)

    bundle = commands.add_parser("bundle", help="make an ensemble of trained runs")
    bundle.add_argument("runs", type=Path, nargs="+", help="folders of `ich train`")
    bundle.add_argument("--out", type=Path, required=True)
    bundle.add_argument("--name", required=True)
    bundle.add_argument("--version", required=True)
    bundle.add_argument("--threshold", type=float, default=0.5)
    bundle.add_argument("--trained-on", required=True, help="the training data, in words, for the manifest")
    bundle.set_defaults(command=run_bundle)
    return top


def add_segmentation_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    command.add_argument("--quality", default="auto", help="auto, full (the scan's grid) or fast (about 1 mm)")
    command.add_argument("--threshold", type=float, help="probability from which a voxel is bleed")
    command.add_argument("--members", type=int, help="use only the first so many members")
    command.add_argument("--bundle", type=Path, help="folder of another ensemble than the bundled one")
    command.add_argument("--series", help="number, or end of the UID, of the DICOM series to take")
    command.add_argument("--overwrite", action="store_true", help="replace results that are there")


def run_segment(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.ensemble import load_bundle
    from ICHSegmentationLib.pipeline import segment_file
    from ICHSegmentationLib.report import summary

    with staging.folder(options.out, options.overwrite) as folder, Bar() as bar:
        ensemble = load_bundle(options.bundle)
        result = segment_file(options.input, folder, ensemble, chosen(options), bar.show)
    print(summary(result.statistics))
    print(f"Results in {options.out}")


def run_demo(options: argparse.Namespace, staging: Staging) -> None:
    if options.input is not None:
        run_segment(options, staging)
        return
    import torch

    from ICHSegmentationLib.ensemble import load_bundle
    from ICHSegmentationLib.pipeline import segment_file
    from ICHSegmentationLib.report import summary
    from ICHSegmentationLib.simulation.demo import demo_case, write_demo_scan

    with staging.folder(options.out, options.overwrite) as folder, Bar() as bar:
        ensemble = load_bundle(options.bundle)
        bar.show("generating a head", 0.0, "")
        with torch.inference_mode():
            case = demo_case(options.seed)
        scan = write_demo_scan(case, folder)
        result = segment_file(scan, folder, ensemble, chosen(options), bar.show, title="Generated head, ")
    print("A generated head (no patient) with a bleed of known volume was segmented.")
    print(summary(result.statistics))
    print(f"True volume     {sum(case.volume_ml.values()):.1f} mL, measured {result.segmentation.volume_ml:.1f} mL")
    print(f"Results in {options.out}; look at {options.out / 'overview.png'}")


def run_info(options: argparse.Namespace, staging: Staging) -> None:
    import torch

    from ICHSegmentationLib.devices import describe, fastest_dtype, pick_device
    from ICHSegmentationLib.ensemble import bundled_path, load_bundle
    from ICHSegmentationLib.report import versions

    for name, version in versions().items():
        print(f"{name:16s}{version}")
    device = pick_device("auto")
    print(f"{'device':16s}{describe(device, fastest_dtype(device))}")
    print(f"{'CUDA devices':16s}{torch.cuda.device_count()}")
    ensemble = load_bundle(options.bundle)
    folder = options.bundle or bundled_path()
    info = ensemble.info
    print(f"{'ensemble':16s}{info.name} {info.version}, {len(ensemble.members)} members of {info.preset}, {folder}")
    print(f"{'SHA-256':16s}{ensemble.sha256}")
    print(DISCLAIMER)


def run_simulate(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.simulation.label_maps import load_anatomies
    from ICHSegmentationLib.training.pool import simulate_pool

    anatomies = load_anatomies(options.label_maps, cache=options.out / "anatomies")
    numbers = range(options.first, options.first + options.cases)
    with Bar() as bar:
        for done, _ in enumerate(simulate_pool(anatomies, options.out, numbers, options.seed), 1):
            bar.show("simulating", done / len(numbers), f"case {done} of {len(numbers)}")
    print(f"{len(numbers)} cases in {options.out}")


def run_train(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.training.train import TrainingConfig, train
    from ICHSegmentationLib.unet import PRESETS

    if options.preset not in PRESETS:
        raise InputError(f"the preset must be one of {', '.join(PRESETS)}; found {options.preset!r}.")
    config = TrainingConfig(PRESETS[options.preset], options.member, options.seed, options.steps)
    with Bar() as bar:

        def on_step(step: int, loss: float) -> None:
            bar.show("training", step / options.steps, f"step {step} of {options.steps}, loss {loss:.3f}")

        run = train(config, options.cases, options.out, pick_device(options.device), options.minutes, on_step=on_step)
    print(f"Member {options.member} stands at step {run.step} of {options.steps} in {options.out}")


def run_bundle(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.training.bundling import bundle_runs

    with staging.folder(options.out, overwrite=False) as folder:
        sha256 = bundle_runs(options.runs, folder, options.name, options.version, options.threshold, options.trained_on)
    print(f"{len(options.runs)} members in {options.out}, SHA-256 {sha256}")


def chosen(options: argparse.Namespace) -> SegmentationOptions:
    from ICHSegmentationLib.pipeline import SegmentationOptions

    return SegmentationOptions(options.device, options.quality, options.threshold, options.members, options.series)


class Bar:
    """A progress bar on standard error; nothing where that is no terminal."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, stage: str, share: float, detail: str) -> None:
        from tqdm import tqdm

        if stage != self.stage:
            self.__exit__()
            self.stage = stage
            layout = "{desc} {percentage:3.0f}%|{bar:30}| {postfix} [{elapsed}<{remaining}]"
            self.bar = tqdm(total=1.0, desc=stage, bar_format=layout, disable=None, leave=False, file=sys.stderr)
        self.bar.set_postfix_str(detail, refresh=False)
        self.bar.update(share - self.bar.n)


class Staging:
    """Folders that results are written to before they take their place, so that none is ever half there."""

    def __init__(self) -> None:
        self.partial: Path | None = None

    @contextmanager
    def folder(self, out: Path, overwrite: bool) -> Iterator[Path]:
        """A temporary folder beside `out`; what is written there moves to `out` if all goes well."""
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file; a folder for the results is wanted.")
        if out.is_dir() and any(out.iterdir()) and not overwrite:
            raise OutputError(f"{out} is not empty; name another folder, or --overwrite to replace results there.")
        self.partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
        try:
            self.partial.mkdir(parents=True)
            yield self.partial
            if not out.exists():
                self.partial.rename(out)
            else:
                for file in sorted(self.partial.iterdir()):
                    os.replace(file, out / file.name)
        except OSError as error:
            raise OutputError(f"results cannot be written to {out}: {error.strerror or error}.") from None
        finally:
            self.discard()

    def discard(self) -> None:
        if self.partial is not None:
            shutil.rmtree(self.partial, ignore_errors=True)


def guarded(command: Callable[[], None]) -> int:
    """Runs a command; an error that a user can mend becomes one sentence and its exit code."""
    try:
        command()
    except ICHError as error:
        print(f"ich: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError:
        print("ich: memory ran out; --quality fast or a machine with more memory is wanted.", file=sys.stderr)
        return InputError.exit_code
    return 0


def run_interruptibly(job: Callable[[], int], staging: Staging) -> int:
    """Runs the job beside the main thread, so that Ctrl-C is answered at once however long a computation takes."""
    codes: list[int] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            codes.append(job())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    previous = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.1)
    except KeyboardInterrupt:
        staging.discard()
        print("\nich: stopped; nothing was written.", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)  # the computation cannot be asked to stop, only left
    finally:
        signal.signal(signal.SIGTERM, previous)
    if failures:
        raise failures[0]
    return codes[0]
