"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_beginning(command: argparse.ArgumentParser) -> None:
    """What a training begins with: a preset's architecture, or weights that are there already."""
    either = command.add_mutually_exclusive_group()
    either.add_argument("--preset", default="compact", help="a name of unet.PRESETS (default: compact)")
    either.add_argument("--start", type=Path, metavar="RUN_OR_BUNDLE", help="go on from weights that are there already")
