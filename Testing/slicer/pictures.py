"""Takes pictures of the panel: in all its states, and after a real run on the generated head of the demo.

`python Testing/slicer/pictures.py FOLDER`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

MARGIN = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (2, 1)]
    import host

    if reason := host.why_not():
        sys.exit(reason)
    from host.application import start
    from host.photograph import DARK, LIGHT, photograph
    from host.scripted import load_module
    from panel_helpers import MODULE, add_demo_volume, add_volume, run
    from panel_states import STATES

    folder.mkdir(parents=True, exist_ok=True)
    application = start()

    def take(panel: Any, state: str) -> None:
        for theme, colors in (("light", LIGHT), ("dark", DARK)):
            path = folder / f"panel_{state}_{theme}.png"
            photograph(panel.parent, path, colors=colors, pixels=2)
            without_empty_rows(path)

    for state, put_up in STATES.items():
        application.reset()
        add_volume("CT head")
        module = load_module(MODULE)
        put_up(module.widget)
        take(module.widget, state)
        module.close()
    application.reset()
    add_demo_volume()
    module = load_module(MODULE)
    module.widget.ui.deviceEdit.text = "cpu"
    run(module.widget)
    take(module.widget, "demo")
    module.close()


def without_empty_rows(path: Path) -> None:
    """Cuts off what lies below the last widget."""
    from PIL import Image, ImageChops

    with Image.open(path) as file:
        picture = file.convert("RGB")
    background = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    bottom = ImageChops.difference(picture, background).getbbox()[3]
    picture.crop((0, 0, picture.width, bottom + MARGIN)).save(path, optimize=True)


if __name__ == "__main__":
    main()
