"""The command line: `ich`, also `python -m ICHSegmentationLib`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHSegmentationLib.baselines.commands import add_commands as add_system_commands
from ICHSegmentationLib.data.commands import add_commands as add_data_commands
from ICHSegmentationLib.errors import ICHError, InputError, OutputError
from ICHSegmentationLib.evaluation.commands import add_commands as add_evaluation_commands
from ICHSegmentationLib.memory import keep_freed_memory, use_huge_pages
from ICHSegmentationLib.staging import Staging
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.training.commands import add_commands as add_training_commands

if TYPE_CHECKING:
    from ICHSegmentationLib.pipeline import SegmentationOptions

INTERRUPTED = 130
DEMO = Path("demo")
SECONDS_BETWEEN_LINES = 60.0  # of progress, where there is no terminal


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    use_huge_pages()
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(name)s: %(message)s")
    staging = Staging()
    with staging.temporary_files():
        if options.takes_signals:  # and leaves what it has when it is asked to stop
            return guarded_alone(lambda: options.command(options, staging))
        return run_interruptibly(lambda: guarded(lambda: options.command(options, staging)), staging)


def script() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows another, and stops nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    keep_freed_memory()
    sys.exit(main())


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="ich", description=f"Segments and measures intracranial hemorrhage on head CT. {DISCLAIMER}"
    )
    top.add_argument("--verbose", action="store_true", help="say more about what is done")
    top.set_defaults(takes_signals=False)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment one scan")
    segment.add_argument("input", type=Path, help="DICOM folder, file or zip, NIfTI, NRRD or MetaImage")
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_segmentation_options(segment)
    add_scan_options(segment)
    segment.set_defaults(command=run_segment)

    batch = commands.add_parser("batch", help="segment many scans, with one table of all of them")
    batch.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="scans, and folders of scans")
    batch.add_argument("--out", type=Path, required=True, help="folder for batch.csv and a folder of results a scan")
    batch.add_argument("--resume", action="store_true", help="go on in --out where an earlier batch stopped")
    add_segmentation_options(batch)
    batch.set_defaults(command=run_batch)

    demo = commands.add_parser("demo", help="segment a scan, or a generated head with a bleed of known volume")
    demo.add_argument("input", type=Path, nargs="?", help="a scan; without one a head is generated")
    demo.add_argument("--out", type=Path, default=DEMO, help="folder for the results (default: demo, overwritten)")
    demo.add_argument("--seed", type=int, default=1, help="of the generated head")
    add_segmentation_options(demo)
    add_scan_options(demo)
    demo.set_defaults(command=run_demo)

    info = commands.add_parser("info", help="versions, devices and ensemble, for a bug report")
    info.add_argument("--bundle", type=Path, help="folder of another ensemble than the bundled one")
    info.set_defaults(command=run_info)

    add_training_commands(commands)
    add_system_commands(commands)
    add_data_commands(commands)
    add_evaluation_commands(commands)
    return top


def add_segmentation_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    command.add_argument("--quality", default="auto", help="auto, full (the scan's grid) or fast (about 1 mm)")
    command.add_argument("--threshold", type=float, help="probability from which a voxel is bleed")
    command.add_argument("--members", type=int, help="use only the first so many members")
    command.add_argument("--bundle", type=Path, help="folder of another ensemble than the bundled one")


def add_scan_options(command: argparse.ArgumentParser) -> None:
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


def run_batch(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.batch import TABLE, Batch, Settings
    from ICHSegmentationLib.batch_files import find_cases
    from ICHSegmentationLib.worker_keeper import WorkerKeeper

    if not options.resume and options.out.is_dir() and any(options.out.iterdir()):
        raise OutputError(f"{options.out} is not empty; name another folder, or --resume to go on with its batch.")
    wishes = {name: getattr(options, name) for name in ("device", "quality", "threshold", "members")}
    keeper = WorkerKeeper()
    batch = Batch(
        find_cases(options.inputs, options.out),
        options.out,
        Settings(options.bundle, wishes),
        keeper.running,
        options.resume,
    )

    def leave() -> None:
        batch.stop()
        keeper.end()

    staging.on_discard = leave
    with Bar() as bar:
        while not batch.is_over:
            if not batch.listen():
                time.sleep(0.02)
            name = batch.current.name if batch.current is not None else ""
            bar.show("segmenting", batch.fraction, f"{len(batch.rows)} of {len(batch.names)} done, {name}")
    keeper.end()
    for row in batch.rows.values():
        found = row.problem or f"{row.volume_ml:.1f} mL ({row.volume_low_ml:.1f} to {row.volume_high_ml:.1f})"
        print(f"{row.state:8s}{row.scan}: {found}")
    done = len(batch.rows) - len(batch.failures) - len(batch.skipped)
    earlier = f", {len(batch.skipped)} were done before" if batch.skipped else ""
    print(f"{done} of {len(batch.names)} scans segmented{earlier}; table in {options.out / TABLE}")
    print(DISCLAIMER)
    if batch.problem:
        raise ICHError(batch.problem)
    if batch.failures:
        raise InputError(f"{len(batch.failures)} of {len(batch.names)} scans could not be segmented; see above.")


def run_demo(options: argparse.Namespace, staging: Staging) -> None:
    options.overwrite |= options.out == DEMO
    if options.input is not None:
        run_segment(options, staging)
        return
    import torch

    from ICHSegmentationLib.ensemble import load_bundle
    from ICHSegmentationLib.pipeline import segment_file
    from ICHSegmentationLib.report import summary, write_files
    from ICHSegmentationLib.simulation.demo import demo_case, write_demo_scan

    with staging.folder(options.out, options.overwrite) as folder, Bar() as bar:
        ensemble = load_bundle(options.bundle)
        bar.show("generating a head", 0.0, "")
        with torch.inference_mode():
            case = demo_case(options.seed)
        scan = write_demo_scan(case, folder)
        write = partial(write_files, title="Generated head, ")
        result = segment_file(scan, folder, ensemble, chosen(options), bar.show, write)
    print("A generated head (no patient) with a bleed of known volume was segmented.")
    print(summary(result.statistics))
    print(f"True volume     {sum(case.volume_ml.values()):.1f} mL, measured {result.segmentation.volume_ml:.1f} mL")
    print(f"Results in {options.out}; look at {options.out / 'overview.png'}")


def run_info(options: argparse.Namespace, staging: Staging) -> None:
    import torch

    from ICHSegmentationLib.bundle import bundled_path
    from ICHSegmentationLib.devices import describe, fastest_dtype, pick_device
    from ICHSegmentationLib.ensemble import load_bundle
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


def chosen(options: argparse.Namespace) -> SegmentationOptions:
    from ICHSegmentationLib.pipeline import SegmentationOptions

    return SegmentationOptions(options.device, options.quality, options.threshold, options.members, options.series)


class Bar:
    """Progress on standard error: a bar on a terminal, elsewhere (a log, a cluster's queue) a line a minute."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage = ""
        self.told = time.monotonic()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, stage: str, share: float, detail: str) -> None:
        if sys.stderr.isatty():
            self.draw(stage, share, detail)
        elif time.monotonic() - self.told > SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            print(f"{stage} {share:.0%}: {detail}", file=sys.stderr, flush=True)

    def draw(self, stage: str, share: float, detail: str) -> None:
        from tqdm import tqdm

        if stage != self.stage:
            self.__exit__()
            self.stage = stage
            layout = "{desc} {percentage:3.0f}%|{bar:30}| {postfix} [{elapsed}<{remaining}]"
            self.bar = tqdm(total=1.0, desc=stage, bar_format=layout, leave=False, file=sys.stderr)
        self.bar.set_postfix_str(detail, refresh=False)
        self.bar.update(share - self.bar.n)


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
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"ich: reading or writing failed: {error.strerror or error}{where}.", file=sys.stderr)
        return OutputError.exit_code
    return 0


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C, where this is the main thread: no other can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def guarded_alone(job: Callable[[], None]) -> int:
    """Runs a job that listens to signals once it has something to keep; until then they end it in a sentence."""
    with sigterm_as_ctrl_c():
        try:
            return guarded(job)
        except KeyboardInterrupt:
            print("\nich: stopped.", file=sys.stderr, flush=True)
            return INTERRUPTED


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
    with sigterm_as_ctrl_c():
        try:
            thread.start()
            while thread.is_alive():
                thread.join(timeout=0.1)
        except KeyboardInterrupt:
            unfinished = staging.partial is not None
            staging.discard()
            print(f"\nich: stopped{'; nothing was written' if unfinished else ''}.", file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)  # the computation cannot be asked to stop, only left
    if failures:
        raise failures[0]
    return codes[0]
