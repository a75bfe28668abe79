"""Results appear whole or not at all; those of another run go."""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from ICHSegmentationLib.errors import OutputError
from ICHSegmentationLib.staging import Staging, remove, whole_folder


def test_a_folder_appears_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with Staging().folder(out, overwrite=False) as folder:
        (folder / "statistics.json").write_text("{}")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["statistics.json"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with Staging().folder(tmp_path / "out", overwrite=False) as folder:
            (folder / "statistics.json").write_text("{}")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_files_becomes_whole_or_is_not_there(tmp_path: Path) -> None:
    case = tmp_path / "pool" / "case"
    with suppress(KeyError), whole_folder(case) as partial:
        (partial / "hu.npy").write_text("half")
        raise KeyError
    assert list(case.parent.iterdir()) == []
    with whole_folder(case) as partial:
        (partial / "hu.npy").write_text("whole")
        assert not case.exists()
    assert [path.name for path in case.parent.iterdir()] == ["case"]


def test_of_two_processes_that_fill_a_folder_the_quicker_one_does(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "case") as partial:
        (partial / "hu.npy").write_text("slower")
        (tmp_path / "case").mkdir()
        (tmp_path / "case" / "hu.npy").write_text("quicker")
    assert (tmp_path / "case" / "hu.npy").read_text() == "quicker"
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_a_folder_in_the_way_that_holds_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "case") as partial:
        (partial / "hu.npy").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["case", "thesis.txt"]


def test_results_of_another_run_go_and_other_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("regular_scan.nii.gz", "statistics.json", "thesis.txt"):
        (out / name).write_text("old")
    with pytest.raises(OutputError, match="not empty"), Staging().folder(out, overwrite=False):
        pass
    with Staging().folder(out, overwrite=True) as folder:
        (folder / "statistics.json").write_text("new")
    assert sorted(path.name for path in out.iterdir()) == ["statistics.json", "thesis.txt"]
    assert (out / "statistics.json").read_text() == "new"


def test_temporary_files_go_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Staging().temporary_files():
        Path(tempfile.mkdtemp(), "image.dcm").write_text("a patient")
        assert list(tmp_path.rglob("image.dcm"))
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() == str(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="is a file"), Staging().folder(tmp_path / "out", overwrite=True):
        pass


def test_a_folder_that_is_still_written_to_goes_all_the_same(tmp_path: Path) -> None:
    folder, stop = tmp_path / "scratch", threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(OSError):
                (folder / str(number)).mkdir(parents=True, exist_ok=True)
                (folder / str(number) / "image.dcm").write_text("a patient")

    writer = threading.Thread(target=write_on)
    writer.start()
    while not (folder / "50").exists():
        pass
    remove(folder)
    stop.set()
    writer.join()
    assert list(tmp_path.glob("scratch.gone")) == []
