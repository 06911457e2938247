"""Make videos of photographs: a camera pans over them, and the light changes slowly.

    python experiments/videos.py packages FOLDER            # a video shows one photograph
    python experiments/videos.py packages FOLDER --cuts     # in the middle it cuts to another one

The packages and the photographs are those of experiments/photographs.py. A frame is a square of a quarter of the
photograph's height, moved by a tenth of its side from frame to frame; brightness and warmth swing slowly, each video
with swings of its own. The right fifth of every photograph is for the test part, which has no cuts. FOLDER/metadata.csv
has the label of every frame, the photograph that it shows; the folder of a frame is its video.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from photographs import PLACES, TEST
from PIL import Image

from clsp import files

SHORTER, WINDOW, SIDE = 512, 128, 64
"""Pixels of a photograph's shorter side, of the camera's square, and of a frame."""
FRAMES, STEP = 20, 12.8
"""Of a video, and pixels that the camera moves between two of them."""
COUNT = {"train": 8, "test": 2}
"""Videos of a photograph."""
SWING, WARMTH = 0.35, 0.15
"""How far brightness swings, and red and blue against each other, as a fraction."""


@dataclass(frozen=True)
class Camera:
    """It pans over a part of a photograph, and comes back from its border."""

    image: np.ndarray
    """float32 [H, W, 3] in [0, 255]."""
    start: np.ndarray
    """Its upper left corner at the beginning, (x, y) in pixels."""
    move: np.ndarray
    """By which it moves between two frames."""

    def frame(self, time: int) -> np.ndarray:
        """Its square at a time: float32 [WINDOW, WINDOW, 3]."""
        most = np.array(self.image.shape[1::-1]) - WINDOW
        at = np.abs((self.start + time * self.move + most) % np.maximum(2 * most, 1) - most)  # to and fro
        x, y = (round(value) for value in at)
        return self.image[y : y + WINDOW, x : x + WINDOW]


def parts(path: Path) -> dict[str, np.ndarray]:
    """The two parts of a photograph."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    factor = SHORTER / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.float32)
    border = image.width - max(round(TEST * image.width), WINDOW)
    return {"train": pixels[:, :border], "test": pixels[:, border:]}


def camera(image: np.ndarray, rng: np.random.Generator) -> Camera:
    """A camera somewhere, that moves in some direction."""
    angle = 2 * np.pi * rng.random()
    most = np.array(image.shape[1::-1]) - WINDOW
    return Camera(image, rng.random(2) * most, STEP * np.array([np.cos(angle), np.sin(angle)]))


def light(rng: np.random.Generator) -> np.ndarray:
    """The factor of every channel in every frame, float [FRAMES, 3]."""
    phases, turns = 2 * np.pi * rng.random(2), rng.uniform(0.5, 1.5, 2)
    bright, warm = (np.sin(phase + 2 * np.pi * turn * np.arange(FRAMES) / FRAMES) for phase, turn in zip(phases, turns))
    return (1 + SWING * bright)[:, None] * (1 + WARMTH * warm[:, None] * np.array([1.0, 0.0, -1.0]))


def video(shown: list[str], images: dict[str, np.ndarray], rng: np.random.Generator) -> Iterator[Image.Image]:
    """The frames of a video of the photographs that are shown, by name."""
    cameras, factors = {name: camera(images[name], rng) for name in dict.fromkeys(shown)}, light(rng)
    for time, name in enumerate(shown):
        pixels = np.clip(cameras[name].frame(time) * factors[time], 0, 255).astype(np.uint8)
        yield Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="folder of the unpacked packages")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--cuts", action="store_true", help="a train video shows another photograph from its middle on")
    given = parser.parse_args()
    rng, lines = np.random.default_rng(0), ["file_name,label"]
    photographs = {name.split("_by_")[0]: parts(given.packages / place) for name, place in PLACES}
    names = sorted(photographs)
    for part, name in itertools.product(COUNT, names):
        images = {other: photographs[other][part] for other in names}
        for number in range(COUNT[part]):
            other = names[rng.integers(len(names))] if given.cuts and part == "train" else name
            shown = [name] * (FRAMES // 2) + [other] * (FRAMES - FRAMES // 2)
            folder = f"{part}/{name}-{number}"
            files.make_folder(given.out / folder)
            for time, frame in enumerate(video(shown, images, rng)):
                frame.save(given.out / folder / f"{time:02}.jpg", quality=92)
                lines.append(f"{folder}/{time:02}.jpg,{shown[time]}")
    files.write_text(given.out / "metadata.csv", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
