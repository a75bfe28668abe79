"""`python -m ICHSegmentationLib` is the command line `ich`."""

from ICHSegmentationLib.cli import script

script()
