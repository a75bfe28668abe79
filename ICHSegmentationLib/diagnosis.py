"""What a bug report needs, without a word of the patient's. The standard library only.

Messages of libraries quote what they read: file names, names and dates of DICOM headers. A copied diagnosis leaves the
hospital, so that paths, quotations and the names that the caller knows are blotted out of them; a traceback keeps the
names of its source files. What is said of the set-up (packages, device, the ensemble's folder) stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

from ICHSegmentationLib.installation import Installation, set_up_lines

BLOT = "[...]"
SOURCE = re.compile(r'^(\s*File )"(?:.*[\\/])?([^"\\/]+\.pyx?)", (line \d+.*)$')  # a line of a traceback
WARNING = re.compile(r"^(?:\S.*[\\/])?([^\\/:]+\.py:\d+: \w+: )(.*)$")  # of Python's warnings
EXCEPTION = re.compile(r"^([\w.]+(?:Error|Exception|Warning): )(.*)$")
TELLTALES = (
    re.compile(
        r"""(?<!\w)[bfru]{0,2}(?:'[^']*'|"[^"]*"|['"].*$)"""
    ),  # a quotation; one that is not closed lasts to the end
    re.compile(r"(?<![^\s=(\[,;:<])(?:~?/(?!\s)|\\\\|[A-Za-z]:[\\/]|file:).*$"),  # a path, spaces and all
    re.compile(r"^.*(?:\w{2,}[\\/]\w{2,}\S*|\.(?:dcm|ima|nii|gz|nrrd|nhdr|mha|mhd|zip)\b)", re.IGNORECASE),  # its end
)
SHORTEST_NAME = 3  # letters; a shorter one would blot out parts of words


def diagnosis(
    installation: Installation, device: str, application: str, details: Iterable[str] = (), names: Iterable[str] = ()
) -> str:
    """What a bug report needs, as text.

    Args:
        installation: what is there.
        device: what the worker computes on.
        application: Slicer and its version.
        details: what went wrong, in lines: an error's sentence, a traceback, what the worker said last.
        names: of scans, volumes, patients, as far as they are known: they are blotted out wherever they stand.
    """
    known = sorted({name.strip() for name in names if len(name.strip()) >= SHORTEST_NAME}, key=len, reverse=True)
    lines = [
        f"{application}, Python {sys.version.split()[0]}, {sys.platform}",
        *set_up_lines(installation, device),
        *(f"{name} {version or 'not installed'}" for name, version in installation.versions.items()),
        *(blotted(line, known) for text in details for line in text.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def blotted(line: str, names: Iterable[str] = ()) -> str:
    """A line without paths, quotations and these names; of source files the names stay."""
    if found := SOURCE.match(line):
        return f'{found[1]}"{found[2]}", {found[3]}'
    found = WARNING.match(line) or EXCEPTION.match(line)
    start, rest = found.groups() if found else ("", line)
    for name in names:
        rest = re.sub(re.escape(name), BLOT, rest, flags=re.IGNORECASE)
    for telltale in TELLTALES:
        rest = telltale.sub(BLOT, rest)
    return start + rest
