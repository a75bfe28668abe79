"""The command that brings published data sets into nnU-Net's raw layout: `ich convert`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ICHSegmentationLib.staging import Staging

NAMES = ("instance2022", "bhsd", "ct-ich")


def add_commands(commands: Any) -> None:
    """Adds it to the subparsers of the command line."""
    convert = commands.add_parser("convert", help="bring a published data set into nnU-Net's raw layout")
    convert.add_argument("layout", choices=NAMES, help="which data set")
    convert.add_argument("source", type=Path, help="the folder that was downloaded or unpacked")
    convert.add_argument("--out", type=Path, required=True, help="nnU-Net raw folder to write")
    convert.add_argument(
        "--trust-voxels",
        action="store_true",
        help="where a mask's header names another grid than its scan but as many voxels, take the scan's",
    )
    convert.set_defaults(command=run_convert)


def run_convert(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.data.converters import LAYOUTS, published_scans
    from ICHSegmentationLib.data.nnunet import write_nnunet_raw

    layout = LAYOUTS[options.layout]
    with staging.folder(options.out, overwrite=False) as folder:
        count = write_nnunet_raw(published_scans(options.source, layout, options.trust_voxels), folder, layout.labels)
    print(f"{count} cases of {layout.title} in {options.out}")
