"""A copied diagnosis says where it went wrong, and nothing of whose scan it was."""

from __future__ import annotations

import pytest

from ICHSegmentationLib.bundle import bundled_path
from ICHSegmentationLib.diagnosis import blotted, diagnosis
from ICHSegmentationLib.installation import look

NAMES = ["Müller^Hans", "3: Schädel 5 mm"]
LEAKS = [
    "FileNotFoundError: [Errno 2] No such file or directory: '/data/Müller Hans/1.2.3.dcm'",
    'OSError: cannot read "C:\\\\scans\\\\Müller Hans\\\\head.nrrd"',
    "WARNING: In /build/itkNiftiImageIO.cxx, line 2190, NiftiImageIO (0x55): /data/Müller Hans/head.nii has scales",
    "WARNING: In C:\\build\\itk.cxx, line 2: D:\\Müller Hans\\head scan.nrrd",
    "/opt/Slicer/site-packages/pydicom/valuerep.py:440: UserWarning: Invalid value for VR PN: 'Müller Hans'",
    "Müller Hans.nii.gz is empty (0 bytes).",
    "UserWarning: the scan Hans Müller/head lies elsewhere",
    "the volume Müller^Hans was removed",
    "the volume 3: schädel 5 mm holds no image.",
    "see file:///data/M%C3%BCller Hans",
    "~/Müller Hans/head",
    "\\\\server\\Müller Hans\\head",
    "ValueError: unexpected 'Müller Hans",
    "ValueError: can't parse b'Hans' in 'Müller'",
]


@pytest.mark.parametrize("line", LEAKS)
def test_no_name_or_path_of_a_scan_stays(line: str) -> None:
    left = blotted(line, NAMES).casefold()
    assert [word for word in ("müller", "m%c3", "hans", "schädel", "head", "scans") if word in left] == []


def test_a_traceback_still_says_where() -> None:
    for line, left in {
        '  File "/home/hans/Slicer 5/volume.py", line 12, in read': '  File "volume.py", line 12, in read',
        '  File "C:\\Users\\Hans M\\x\\volume.py", line 3, in <module>': '  File "volume.py", line 3, in <module>',
        "    volume = read_volume(path, options.series, on_slice)": None,
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": None,
        "The program that segments ended unexpectedly (exit code -9).": None,
        "OSError: [Errno 28] No space left on device: '/tmp/x'": "OSError: [Errno 28] No space left on device: [...]",
    }.items():
        assert blotted(line, NAMES) == (left or line)


def test_a_diagnosis_has_set_up_and_what_went_wrong() -> None:
    found = look(["torch>=2.4"], bundled_path(), {"torch": "2.8"}.get)
    text = diagnosis(found, "cpu", "Slicer 5.10", ["It failed.", "Traceback:\n  a b\nof Müller^Hans"], NAMES)
    assert text.splitlines()[-4:] == ["It failed.", "Traceback:", "  a b", "of [...]"]
    assert "Slicer 5.10, Python 3" in text
    assert "torch 2.8" in text
