"""Cut pairs of faces with 68 key points each from the examples of dlib, in the layout of SPair-71k.

    python experiments/faces.py dlib/examples/faces FOLDER

dlib's source (github.com/davisking/dlib, Boost licence; the pictures are PASCAL VOC's) has 43 faces in ten photographs.
Their key points are dlib's own model's, not people's, so that some pixels of error are in the truth. Every face is cut
out with half its side around it. Pairs are any two faces of different pictures, drawn once for all with seed 0.
"""

from __future__ import annotations

import argparse
import itertools
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clsp import files

PAIRS = 200
"""That are kept."""
MARGIN = 0.5
"""Of a face's side, on each side of it."""


@dataclass(frozen=True)
class Face:
    """A face that was cut out, with its box and its key points in pixels of the cut."""

    name: str
    picture: str
    box: list[int]
    points: list[list[int]]


def cut(folder: Path, out: Path) -> list[Face]:
    """Cut out every face of the two lists and write its file.

    Args:
        folder: with the pictures, ``training_with_face_landmarks.xml`` and ``testing_with_face_landmarks.xml``.
        out: of the data set.
    """
    found: list[Face] = []
    for part in ("training", "testing"):
        for picture in ET.parse(folder / f"{part}_with_face_landmarks.xml").iter("image"):
            with Image.open(folder / picture.attrib["file"]) as opened:
                image = opened.convert("RGB")
            for box in picture.iter("box"):
                face = _face(f"{part}{len(found)}.png", picture.attrib["file"], box)
                found.append(_moved(face, image, out))
    return found


def _face(name: str, picture: str, box: ET.Element) -> Face:
    left, top, width, height = (int(box.attrib[key]) for key in ("left", "top", "width", "height"))
    points = [[int(point.attrib["x"]), int(point.attrib["y"])] for point in box.iter("part")]
    return Face(name, picture, [left, top, left + width, top + height], points)


def _moved(face: Face, image: Image.Image, out: Path) -> Face:
    """Write the face's cut, and give its box and points in pixels of that."""
    left, top, right, bottom = face.box
    margin = round(MARGIN * max(right - left, bottom - top))
    start = max(left - margin, 0), max(top - margin, 0)
    end = min(right + margin, image.width), min(bottom + margin, image.height)
    image.crop((*start, *end)).save(out / face.name)
    box = [left - start[0], top - start[1], right - start[0], bottom - start[1]]
    return Face(face.name, face.picture, box, [[x - start[0], y - start[1]] for x, y in face.points])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="dlib's folder examples/faces")
    parser.add_argument("folder", type=Path, help="of the data set that is made")
    given = parser.parse_args()
    images, pairs = given.folder / "JPEGImages" / "face", given.folder / "PairAnnotation" / "test"
    for place in (images, pairs):
        files.make_folder(place)
    faces = cut(given.faces, images)
    both = [pair for pair in itertools.permutations(faces, 2) if pair[0].picture != pair[1].picture]
    for number, chosen in enumerate(np.random.default_rng(0).permutation(len(both))[:PAIRS]):
        source, target = both[chosen]
        words = {"category": "face", "src_imname": source.name, "trg_imname": target.name}
        more = {"src_kps": source.points, "trg_kps": target.points, "trg_bndbox": target.box}
        files.write_json(pairs / f"{number:03d}.json", {**words, **more})
    print(f"{len(faces)} faces, {PAIRS} pairs: --pairs {given.folder}")


if __name__ == "__main__":
    main()
