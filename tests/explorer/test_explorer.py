"""What the page is made of: the map, the pictures, doubtful labels, what is read of a run, and how large it becomes."""

from __future__ import annotations

import io
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from clsp import explorer
from clsp.errors import UserError
from clsp.evaluation.embeddings import Embeddings
from clsp.explorer import projection
from clsp.explorer.neighbours import Neighbours, find_neighbours, find_suspects
from clsp.explorer.page import _folders
from clsp.explorer.sprites import draw_sheets
from clsp.images.imageset import Images, Split
from clsp.study.explore import explore, read_embeddings
from workbench import clsp, copied, finished


def blobs(count, groups=4, width=24, seed=0):
    """Embeddings of groups far apart, float32 [count, width], and the group of each."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % groups
    return (8 * np.eye(width)[kind] + rng.normal(size=(count, width))).astype(np.float32), kind


def agreement(points, kind):
    """Fraction of the points whose nearest other one is of their group."""
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    return (kind[apart.argmin(axis=1)] == kind).mean()


@pytest.mark.parametrize("exact", [10_000, 60])
def test_the_map_keeps_groups_together_and_is_the_same_again(monkeypatch, exact):
    monkeypatch.setattr(projection, "_EXACT", exact)
    values, kind = blobs(240)
    made = projection.project(values, seed=3)
    assert np.abs(made.points).max() <= 1 + 1e-6
    assert made.points.shape == (240, 2)
    assert agreement(made.points, kind) > 0.95
    assert np.array_equal(made.points, projection.project(values, seed=3).points)
    assert ("of the others" in made.method) == (exact == 60)


@pytest.mark.parametrize("values", [np.eye(3, 5), np.ones((4, 1)), np.ones((30, 7)), np.zeros((12, 3))])
def test_the_map_takes_few_and_equal_embeddings(values):
    points = projection.project(values.astype(np.float32), seed=0).points
    assert points.shape == (len(values), 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28), (2, 40), (5, 130)])
def test_sheets_hold_every_picture_at_its_place(channels, size):
    shades = np.linspace(0, 250, 150).astype(np.uint8)
    pictures = np.broadcast_to(shades[:, None, None, None], (150, channels, size, size)).copy()
    made = draw_sheets(150, lambda first, last: pictures[first:last], size, most=10**7)
    assert made.side == min(size, 96)
    assert made.cell % 16 == 0
    side, cell, columns = made.side, made.cell, made.columns
    for number in (0, 1, 77, 149):
        sheet, place = divmod(number, columns * columns)
        with Image.open(io.BytesIO(made.sheets[sheet])) as image:
            assert image.size == (columns * cell, made.heights[sheet])
            top, left = place // columns * cell, place % columns * cell
            found = np.asarray(image.convert("RGB"))[top : top + side, left : left + side].astype(float)
        assert abs(found.mean() - shades[number]) < 3
        assert found.std() < 3


def test_thumbnails_shrink_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 256, (100, 3, 96, 96)).astype(np.uint8)
    sizes = [draw_sheets(100, lambda first, last: noise[first:last], 96, most=most) for most in (10**8, 350_000, 1)]
    assert [made.side for made in sizes] == sorted((made.side for made in sizes), reverse=True)
    assert (sizes[0].side, sizes[-1].side) == (96, 16)
    assert sizes[1].size < 385_000


def test_a_wrong_label_is_the_first_suspect():
    values, kind = blobs(80)
    labels = kind.copy()
    labels[10], labels[20:24] = 3, -1
    found = find_suspects(find_neighbours(values), labels, 4)
    assert (found.rows[0], found.voted[0]) == (10, kind[10])
    assert not set(range(20, 24)) & set(found.rows.tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clsp.explorer.neighbours._MOST", 1)
        labels[11:15] = 3
        few = find_suspects(find_neighbours(values), labels, 4)
    assert len(few.rows) == 1 < few.count  # all are counted, some are listed
    assert (np.diff(found.share) <= 1e-6).all() or len(found.share) == 1


def test_nobody_is_suspected_where_no_neighbour_has_a_label():
    near = Neighbours(np.ones((4, 2), np.float32), np.array([[1, 2], [2, 3], [3, 1], [1, 2]]))
    assert len(find_suspects(near, np.array([0, -1, -1, -1]), 2).rows) == 0
    assert len(find_suspects(near, np.full(4, -1), 0).rows) == 0


def test_folders_are_shortened_where_there_are_too_many():
    many = _folders([f"set/{number}/a.png" for number in range(900)])
    assert many["values"] == ["set"]
    assert _folders(["a.png", "b/c.png"])["values"] == [".", "b"]
    assert _folders(["caf\\xe9/a.png"])["values"] == ["caf\\xe9"]  # a byte that is no UTF-8, not a folder in a folder


def test_a_run_and_its_encoder_make_the_same_page(tmp_path, capsys):
    """The findings are read of the run, and searched where only its encoder is left."""
    own, run = tmp_path / "own.html", finished()
    assert clsp("explore", run, "--out", own) == 0
    assert "96 images" in capsys.readouterr().out
    encoder = shutil.copytree(run / "encoder", tmp_path / "encoder")
    source = str(run.parent / "photos")
    made = explore(encoder, data=source)
    assert (made.path, made.images) == (encoder / "explore.html", 96)
    images = Images(**vars(read(run)))
    stored = read_embeddings(run / "embeddings.parquet", images)
    searched = explorer.search_found(stored, np.arange(96), seed=0)
    kept = explorer.read_found(run / "findings", stored, np.arange(96))
    assert np.array_equal(searched.cluster, kept.cluster)
    assert np.array_equal(searched.outliers, kept.outliers)
    assert searched.outstanding == kept.outstanding
    assert np.array_equal(searched.pairs, kept.pairs)


def read(run):
    """The images of a run."""
    from clsp.study.explore import _prepared

    return _prepared(run, None).images


def test_what_is_wrong_ends_in_one_line(tmp_path, capsys):
    run = copied(tmp_path / "run")
    cases = {
        ("explore", tmp_path / "nothing"): "there is no run at",
        ("explore", run, run): "takes one RUN",
        ("explore", run / "encoder"): "--data FOLDER",
        ("explore", run / "findings"): "is no run and no encoder",
        ("explore", run, "--out", tmp_path): "is a folder",
        ("explore", run, "--data", tmp_path / "gone"): "gone",
    }
    for call, words in cases.items():
        assert clsp(*call) == 2
        assert words in capsys.readouterr().err
    (run / "findings" / "clusters.csv").write_text("name,part,cluster,distance\nx,train,1,0.5\n")
    with pytest.raises(UserError, match=r"clusters\.csv"):
        explore(run)


def test_images_that_changed_since_the_run_are_refused_unless_they_are_named(tmp_path):
    photos = shutil.copytree(finished().parent / "photos", tmp_path / "photos")
    next(iter(sorted(photos.rglob("*.png")))).unlink()
    run = copied(tmp_path / "run")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(finished().parent), str(tmp_path)))
    (run / "checksums.json").unlink()
    with pytest.raises(UserError, match="are not those that"):
        explore(run)
    assert explore(run, data=str(photos)).images == 95


def test_ten_thousand_random_pictures_stay_below_40_mb(tmp_path, monkeypatch):
    """The worst that thumbnails can be; t-SNE is left small here, its time is told in docs/explore.md."""
    monkeypatch.setattr(projection, "_EXACT", 300)
    count, rng = 10_000, np.random.default_rng(0)
    values, kind = blobs(count, 10)
    pixels = rng.integers(0, 256, (count, 3, 64, 64), np.uint8)
    names = [f"class {label}/a rather long name of a photo {number:06d}.jpg" for number, label in enumerate(kind)]
    images = Images(source="made", train=Split(images=pixels, names=names, labels=kind), classes=tuple("abcdefghij"))
    none = np.empty(0, np.int64)
    found = explorer.Found(
        kind, np.zeros(count, np.float32), none.reshape(0, 2), none, none.astype(np.float32), none,
        none.astype(np.float32), 0,
    )  # fmt: skip
    content = explorer.Content("made", Embeddings(images, values), np.arange(count), found, seed=0)
    began = time.process_time()
    made = explorer.write_page(content, tmp_path / "page.html")
    assert 10e6 < made.bytes < 40e6
    assert time.process_time() - began < 90
