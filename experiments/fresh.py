"""Part Fashion-MNIST's train images into those that settings were chosen on, and four sets that nothing was chosen on.

    python experiments/fresh.py FOLDER

FOLDER/seen.npz has the 10,000 images that recipes and studies of seed 0 learn, the 10,000 validation images that their
settings were chosen on, and the test images. FOLDER/fresh-0.npz to fresh-3.npz share the other 40,000: each has 10,000
to learn, and the 10,000 of the next set as its test part, for the settings of a generator were chosen on the test
images once (studies/generators).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from clsp import files
from clsp.images.imageset import Split, subset
from clsp.images.sources import open_images
from clsp.randomness import permutation

SETS, EACH = 4, 10_000


def parts(total: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The rows of ``total`` that were seen, int64 [20,000], and those of every fresh set, int64 [10,000]; sorted."""
    learnt = subset(total, EACH, seed=0)
    validation = np.setdiff1d(np.arange(total), subset(total, total - EACH, seed=0))
    seen = np.union1d(learnt, validation)
    rest = np.setdiff1d(np.arange(total), seen)
    order = permutation(0, "fresh", 0, len(rest)).numpy()
    return seen, [np.sort(rest[order[one::SETS]]) for one in range(SETS)]


def write(path: Path, train: Split, test: Split) -> None:
    """Write both parts as MedMNIST lays them out."""
    assert train.labels is not None and test.labels is not None
    with files.atomic(path) as file:
        np.savez_compressed(
            file,
            train_images=np.asarray(train.images)[:, 0],
            train_labels=train.labels.astype(np.uint8),
            test_images=np.asarray(test.images)[:, 0],
            test_labels=test.labels.astype(np.uint8),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    images = open_images("fashion-mnist")
    assert images.test is not None
    files.make_folder(folder)
    seen, fresh = parts(len(images.train))
    write(folder / "seen.npz", images.train.rows(seen), images.test)
    for number, rows in enumerate(fresh):
        following = fresh[(number + 1) % SETS]
        write(folder / f"fresh-{number}.npz", images.train.rows(rows), images.train.rows(following))


if __name__ == "__main__":
    main()
