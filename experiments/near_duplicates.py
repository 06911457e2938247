"""Look at the pictures of a data set once: which are blank, and which series are nearly the same.

    python experiments/near_duplicates.py openclipart

writes the list that `clsp.images.named` keeps, so that parts are fixed and need no pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from clsp import files
from clsp.images.decode import UnreadableImage, decode_file
from clsp.images.named import openclipart, wesnoth
from clsp.images.named import pictures as sets
from clsp.images.named.parts import joined, near_duplicates

SIDE, BLANK = 16, 4.0
"""Of a thumbnail in pixels; the standard deviation in grey levels below which it shows nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("openclipart", "wesnoth"))
    name = parser.parse_args().name
    kind = openclipart if name == "openclipart" else wesnoth
    root = openclipart.FOLDER if name == "openclipart" else wesnoth.folder()
    if root is None or not root.is_dir():
        raise SystemExit(f"{name} is not installed")
    target = Path(sets.__file__).with_name(f"{name}.txt")
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = [file for file in found if "/" in file and kind.counts(file)]
    thumbnails, blank, names = [], [], []
    for file in found:
        try:
            pixels = decode_file(root / file, size=SIDE, channels=3).pixels
        except UnreadableImage:
            continue
        if pixels.std() < BLANK:
            blank.append(file)
        else:
            names.append(file)
            thumbnails.append(pixels)
    groups = [kind.group_of(file) for file in names]
    one = dict(zip(groups, joined(groups, near_duplicates(np.stack(thumbnails)))))
    lines = [f"# made by experiments/near_duplicates.py {name} from {len(found)} pictures"]
    lines += [f"blank\t{file}" for file in blank]
    lines += [f"joined\t{group}\t{first}" for group, first in sorted(one.items()) if group != first]
    files.write_text(target, "\n".join(lines) + "\n")
    print(f"{len(blank)} blank, {len(set(groups))} series, {len(set(one.values()))} when near duplicates are joined")


if __name__ == "__main__":
    main()
