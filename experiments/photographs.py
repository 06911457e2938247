"""Cut a folder of photographs from Debian's wallpapers: tiles of 128 pixels, a class for each photograph.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds plasma-workspace-wallpapers
    for package in *.deb; do dpkg-deb -x "$package" packages; done
    python experiments/photographs.py packages FOLDER

The tiles do not overlap. The right fifth of every photograph is the test part. Tiles without content, such as clear
sky, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from clsp.errors import UserError

SIDE, SHORTER = 128, 1024
"""Pixels of a tile, and of a photograph's shorter side before it is cut."""

LEAST = 6.0
"""Grey levels of standard deviation that a tile has at least."""

TEST = 0.2
"""Fraction of a photograph's columns that are the test part."""

LOMIRI = (
    "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace", "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi", "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi", "Kleiber_by_Lukas_Baubkus",
)  # fmt: skip
MATE = (
    "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings",
    "Wood", "YellowFlower",
)  # fmt: skip
PLASMA = (
    "BytheWater", "ColdRipple", "ColorfulCups", "EveningGlow", "FallenLeaf", "Grey", "Kite", "OneStandsOut", "Path",
    "summer_1am",
)  # fmt: skip
"""The photographs among the wallpapers; the others are drawn."""

PLACES = (
    *((name, f"usr/share/backgrounds/{name}.jpg") for name in LOMIRI),
    *((name, f"usr/share/backgrounds/mate/nature/{name}.jpg") for name in MATE),
    *((name, f"usr/share/wallpapers/{name}/contents/images/2560x1600.jpg") for name in PLASMA),
)
"""Name of each, and its place in the packages."""


def tiles(path: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Give the part, the name and the pixels of a photograph's tiles."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    factor = SHORTER / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
    columns = image.width // SIDE
    for row in range(image.height // SIDE):
        for column in range(columns):
            left, top = column * SIDE, row * SIDE
            tile = image.crop((left, top, left + SIDE, top + SIDE))
            if np.asarray(tile.convert("L")).std() >= LEAST:
                part = "test" if column >= columns - max(1, round(TEST * columns)) else "train"
                yield part, f"{row:02}-{column:02}.jpg", tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="folder of the unpacked packages")
    parser.add_argument("out", type=Path, help="a new folder")
    given = parser.parse_args()
    missing = [name for name, place in PLACES if not (given.packages / place).is_file()]
    if missing:
        raise UserError(f"{given.packages} lacks the photographs {', '.join(missing)}")
    for name, place in PLACES:
        for part, tile, image in tiles(given.packages / place):
            folder = given.out / part / name.split("_by_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / tile, quality=92)


if __name__ == "__main__":
    main()
