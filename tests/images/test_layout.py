import pytest

from clsp.errors import UserError
from clsp.images.layout import find_layout


def test_one_folder_per_class():
    layout = find_layout(["b/1.png", "b/2.png", "a b/1.png", "a b/2.png"])
    assert layout.classes == ("a b", "b")
    assert layout.train_labels.tolist() == [1, 1, 0, 0]
    assert layout.test == ()
    assert layout.notes == ("labels read from the folder names: 2 classes; --images.labels none ignores them",)


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.png", "a/2.png"],  # one folder
        ["a/1.png", "a/2.png", "b/1.png"],  # a folder with one image
        ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "x.png"],  # one at the root
        ["a/1.png", "a/2.png", "b/c/1.png", "b/c/2.png"],  # deeper
        ["1.png", "2.png"],
    ],
)
def test_unlabelled(names):
    layout = find_layout(names)
    assert layout.train == tuple(names)
    assert layout.classes is None
    assert layout.train_labels is None
    assert layout.notes == ()


def test_train_and_test():
    names = ["train/x/1.png", "train/y/deep/1.png", "test/y/2.png"]
    layout = find_layout(names)
    assert layout.train == tuple(names[:2])
    assert layout.test == ("test/y/2.png",)
    assert layout.train_labels.tolist() == [0, 1]
    assert layout.test_labels.tolist() == [1]
    assert "2 images in train/, 1 in test/" in layout.notes


def test_val_serves_where_test_is_missing_or_has_no_classes():
    train = ["train/x/1.png", "train/y/1.png"]
    assert find_layout([*train, "val/x/2.png"]).test == ("val/x/2.png",)
    layout = find_layout([*train, "val/x/2.png", "test/9.png"])
    assert layout.test == ("val/x/2.png",)
    assert "1 images that belong neither to train/ nor to the test part are left out" in layout.notes


def test_parts_without_labels():
    layout = find_layout(["train/1.png", "train/2.png", "test/3.png"])
    assert (len(layout.train), len(layout.test), layout.classes) == (2, 1, None)
    ignored = find_layout(["train/x/1.png", "train/y/1.png", "test/z/1.png"], labels=False)
    assert (len(ignored.train), len(ignored.test), ignored.train_labels) == (2, 1, None)
    assert "labels are ignored (--images.labels none)" in ignored.notes


def test_unknown_test_class():
    with pytest.raises(UserError) as error:
        find_layout(["train/x/1.png", "train/y/1.png", "test/z/1.png"])
    assert str(error.value) == (
        "class 'z' of test/ has no folder in train/, which has 'x', 'y': "
        "add it, remove it, or ignore labels with --images.labels none"
    )
