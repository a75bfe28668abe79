"""Takes pictures of the panel in all its states: `python Testing/slicer/pictures.py FOLDER`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (2, 1)]

import host

import ICHSegmentationLib.errors  # noqa: F401  (before the module looks for it as in Slicer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if reason := host.why_not():
        sys.exit(reason)
    from host.application import start
    from host.photograph import DARK, LIGHT, photograph
    from host.scripted import load_module
    from panel_helpers import MODULE, add_volume
    from panel_states import STATES

    folder.mkdir(parents=True, exist_ok=True)
    application = start()
    for state, put_up in STATES.items():
        for theme, colors in (("light", LIGHT), ("dark", DARK)):
            application.reset()
            add_volume("CT head")
            module = load_module(MODULE)
            put_up(module.widget)
            photograph(module.widget.parent, folder / f"panel_{state}_{theme}.png", colors=colors, pixels=2)
            module.close()


if __name__ == "__main__":
    main()
