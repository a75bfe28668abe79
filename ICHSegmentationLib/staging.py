"""Folders that results are written to before they take their place, so that none is ever half there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ICHSegmentationLib.errors import OutputError

RESULTS = (
    "segmentation.nii.gz",
    "segmentation.seg.nrrd",
    "probability.nii.gz",
    "lesions.csv",
    "statistics.json",
    "overview.png",
    "regular_scan.nii.gz",
    "regular_segmentation.nii.gz",
    "generated_ct.nii.gz",
    "generated_truth.nii.gz",
    "evaluation_cases.csv",
    "evaluation.json",
    "evaluation_bland_altman.png",
    "evaluation_dice_by_volume.png",
    "evaluation_overlays.png",
)


class Staging:
    """Where a process writes what is not finished: a folder beside the results, and one for temporary files."""

    def __init__(self) -> None:
        self.partial: Path | None = None
        self.scratch: Path | None = None
        self.on_discard: Callable[[], None] = lambda: None  # what else must be ended with the process

    @contextmanager
    def temporary_files(self) -> Iterator[None]:
        """Puts all temporary files of this process into one folder of its own, which `discard` removes."""
        before = tempfile.tempdir
        self.scratch = Path(tempfile.mkdtemp(prefix="ich-"))
        tempfile.tempdir = str(self.scratch)
        try:
            yield
        finally:
            tempfile.tempdir = before
            self.discard()

    @contextmanager
    def folder(self, out: Path, overwrite: bool) -> Iterator[Path]:
        """A folder beside `out`; what is written there moves to `out` if all goes well.

        Results of another run that are in `out` go: none of them may be taken for one of this run.
        """
        out = out.resolve()
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file; a folder for the results is wanted.")
        if out.is_dir() and any(out.iterdir()) and not overwrite:
            raise OutputError(f"{out} is not empty; name another folder, or --overwrite to replace results there.")
        self.partial = partial_of(out, os.getpid())
        try:
            with told_as_output_error(out):
                self.partial.mkdir(parents=True)
            yield self.partial
            with told_as_output_error(out):
                publish(self.partial, out)
        finally:
            self.discard_partial()

    def discard_partial(self) -> None:
        if self.partial is not None:
            remove(self.partial)
            self.partial = None

    def discard(self) -> None:
        """Removes whatever is not finished."""
        self.on_discard()
        self.discard_partial()
        if self.scratch is not None:
            remove(self.scratch)


TRIES = 20


def remove(folder: Path) -> None:
    """Removes a folder even while another thread goes on writing into it: a file takes its place meanwhile."""
    gone = folder.with_name(f"{folder.name}.gone")
    for _ in range(TRIES):
        try:
            folder.rename(gone)
            folder.touch(exist_ok=False)
            break
        except FileExistsError:  # the writer was quicker and has begun anew
            shutil.rmtree(gone, ignore_errors=True)
        except OSError:  # not there, or (Windows) with open files
            shutil.rmtree(folder, ignore_errors=True)
            return
    for _ in range(TRIES):  # what it was in the middle of writing may come after a first look
        shutil.rmtree(gone, ignore_errors=True)
        if not gone.exists():
            break
    with suppress(OSError):
        folder.unlink()


def partial_of(out: Path, process: int) -> Path:
    """The folder that a process fills before it becomes `out`."""
    return out.with_name(f".{out.name}.{process}.partial")


def publish(partial: Path, out: Path) -> None:
    try:
        partial.rename(out)  # in one step, where nothing is yet or (not on Windows) an empty folder
        return
    except OSError:
        if not out.is_dir():
            raise
    new = sorted(partial.iterdir())
    for name in set(RESULTS) - {file.name for file in new}:
        (out / name).unlink(missing_ok=True)
    for file in new:
        os.replace(file, out / file.name)


@contextmanager
def told_as_output_error(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"results cannot be written to {out}: {error.strerror or error}.") from None


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the name when all went well and is removed otherwise."""
    suffix = "".join(path.suffixes)
    partial = path.with_name(f".{path.name.removesuffix(suffix)}.{os.getpid()}.partial{suffix}")
    try:
        yield partial
        partial.replace(path)
    except (OSError, EOFError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the disk may be full"
        raise OutputError(f"{path.name} could not be written: {reason}.") from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to fill; it becomes that when all went well, unless another process was quicker.

    Raises:
        OutputError: it cannot be written.
    """
    partial = partial_of(folder, os.getpid())
    shutil.rmtree(partial, ignore_errors=True)  # of a process that had the same number, and was killed
    try:
        with told_as_output_error(folder):
            partial.mkdir(parents=True)
            yield partial
            try:
                partial.rename(folder)
            except OSError:
                if not all((folder / file.name).exists() for file in partial.iterdir()):
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all; raises OutputError."""
    with whole_or_not_at_all(path) as partial:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Writes a JSON file whole or not at all; raises OutputError."""
    write_text(path, json.dumps(values, indent=1))
