import pytest

from clsp.errors import UserError
from clsp.images.layout import find_layout
from clsp.images.parts import part_of


def labels_of(layout):
    """The class of each image that has one, by its name."""
    return {name: layout.classes[label] for name, label in zip(layout.train, layout.train_labels) if label >= 0}


def test_one_folder_per_class():
    layout = find_layout(["b/1.png", "b/2.png", "a b/1.png", "a b/2.png"])
    assert layout.classes == ("a b", "b")
    assert layout.train_labels.tolist() == [1, 1, 0, 0]
    assert layout.test == ()
    assert layout.notes == ("labels read from the folder names: 2 classes; --images.labels none ignores them",)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a/1.png", "a/2.png"], ()),  # one folder
        (["1.png", "2.png"], ()),
        (
            ["a/1.png", "a/2.png", "b/1.png"],
            ("no labels are read from the folder names: 1 of 2 folders hold one image only: b/",),
        ),
        (["p1/1.png", "p2/1.png"], ("no labels are read from the folder names: 2 of 2 folders hold one image only",)),
        (
            ["a/1.png", "b/1.png", *(f"{k}.png" for k in range(3))],
            (
                "no labels are read from the folder names: 3 of 5 images lie in no folder; "
                "--images.labels FILE reads them from a table",
            ),
        ),
    ],
)
def test_unlabelled_and_why(names, why):
    layout = find_layout(names)
    assert layout.train == tuple(names)
    assert layout.classes is None
    assert layout.train_labels is None
    assert layout.notes == why


def test_what_breaks_the_convention_costs_nobody_elses_label_and_is_said():
    classes = ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]
    stray = find_layout([*classes, "overview.png"])
    assert (stray.classes, stray.train_labels.tolist()) == (("a", "b"), [0, 0, 1, 1, -1])
    assert "1 image lies in no class folder and has no label: overview.png" in stray.notes
    single = find_layout([*classes, "c/only.png"])
    assert single.classes == ("a", "b", "c")
    assert "classes of one image: c" in single.notes
    deep = find_layout(["a/1.png", "a/2.png", "b/2020/may/1.png", "b/2021/1.png"])
    assert deep.train_labels.tolist() == [0, 0, 1, 1]
    assert "2 images in deeper folders: the first folder is the label (b/2020/may/1.png: b)" in deep.notes


def test_one_more_folder_around_everything():
    names = [f"archive/images/{label}/{k}.png" for label in "ab" for k in range(2)]
    assert find_layout(names).classes == ("a", "b")
    parted = find_layout([f"archive/{part}/{name[15:]}" for part in ("seg train", "Testing") for name in names])
    assert (len(parted.train), parted.classes) == (8, ("Testing", "seg train"))  # 'seg train' is no part's name
    parted = find_layout([f"a/{part}/x_{part}/{name[15:]}" for part in ("Training", "Testing") for name in names])
    assert (len(parted.train), len(parted.test), parted.classes) == (4, 4, ("a", "b"))


def test_masks_beside_images_are_no_class():
    layout = find_layout(["images/1.png", "images/2.png", "masks/1.png", "masks/2.png"])
    assert layout.train == ("images/1.png", "images/2.png")
    assert layout.classes is None
    assert any("2 images beside images/ left out" in note and "masks/1.png" in note for note in layout.notes)


COVID = [f"{label}/{kind}/{k}.png" for label in ("COVID", "Normal") for kind in ("images", "masks") for k in range(3)]


@pytest.mark.parametrize("around", ["", "archive/", "train/"])
@pytest.mark.parametrize("labels", [True, False])
def test_masks_inside_class_folders_are_left_out(around, labels):
    layout = find_layout([around + name for name in COVID], labels=labels)
    assert layout.train == tuple(around + name for name in COVID if "/images/" in name)
    assert not labels or layout.train_labels.tolist() == [0] * 3 + [1] * 3
    told = [note for note in layout.notes if "left out" in note and "no test part" not in note]
    assert len(told) == 1 and told[0].startswith(
        "6 images in folders beside images left out, they are no photographs: " + around + "COVID/masks/0.png"
    )


def test_masks_of_a_set_of_sets_are_left_out():
    kinds = ("train/good", "test/broken", "ground_truth/broken")
    names = [f"{label}/{kind}/{k}.png" for label in ("bottle", "cable") for kind in kinds for k in range(2)]
    layout = find_layout(names)
    assert layout.train == tuple(name for name in names if "ground_truth" not in name)
    assert layout.classes == ("bottle", "cable")
    alone = find_layout([f"{label}/masks/{k}.png" for label in "ab" for k in range(2)])
    assert len(alone.train) == 4  # nothing else lies there: they are the images


def test_masks_of_parts_are_said_once_and_by_their_own_names():
    names = [f"{kind}/{part}/{k}.png" for kind in ("images", "labels") for part in ("train", "val") for k in range(2)]
    for spelt in (names, ["/".join((*reversed(name.split("/")[:2]), name[-5:])) for name in names]):
        layout = find_layout(spelt)
        assert (len(layout.train), len(layout.test)) == (2, 2)
        told = [note for note in layout.notes if "left out" in note]
        assert sum(int(note.split()[0]) for note in told) == 4 and all("no photographs" in note for note in told)
        assert all("images/labels/" not in note for note in told)


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRN", "training_set", "train2017", "imagesTr", "Train-Images")
        ),
        *((name, "test") for name in ("test", "Testing", "TST", "test_set", "imagesTs", "Test Images")),
        *((name, "val") for name in ("val", "Valid", "VALIDATION", "dev", "val2017", "validation-set")),
        *((name, None) for name in ("cat", "trains", "labelsTr", "train_labels", "trained", "data", "")),
    ],
)
def test_names_of_parts(folder, part):
    assert part_of(folder) == part


def test_train_and_test():
    names = ["train/x/1.png", "train/y/deep/1.png", "test/y/2.png"]
    layout = find_layout(names)
    assert layout.train == tuple(names[:2])
    assert layout.test == ("test/y/2.png",)
    assert layout.train_labels.tolist() == [0, 1]
    assert layout.test_labels.tolist() == [1]
    assert "2 images in train/, 1 in test/" in layout.notes


def test_strays_inside_the_parts():
    names = ["Training/x/1.png", "Training/y/1.png", "Training/s.png", "Testing/x/2.png", "Testing/s.png", "readme.png"]
    layout = find_layout(names)
    assert layout.train_labels.tolist() == [0, 1, -1]
    assert layout.test == ("Testing/x/2.png",)
    assert any("no label: Training/s.png" in note for note in layout.notes)
    left = "2 images that belong neither to Training/ nor to the test part are left out: Testing/ (1), readme.png"
    assert left in layout.notes


def test_val_serves_where_test_is_missing_or_has_no_classes():
    train = ["train/x/1.png", "train/y/1.png"]
    assert find_layout([*train, "val/x/2.png"]).test == ("val/x/2.png",)
    layout = find_layout([*train, "val/x/2.png", "test/9.png"])
    assert layout.test == ("val/x/2.png",)
    assert "1 image that belongs neither to train/ nor to the test part is left out: test/ (1)" in layout.notes


def test_parts_without_labels():
    layout = find_layout(["train/1.png", "train/2.png", "test/3.png"])
    assert (len(layout.train), len(layout.test), layout.classes) == (2, 1, None)
    ignored = find_layout(["train/x/1.png", "train/y/1.png", "test/z/1.png"], labels=False)
    assert (len(ignored.train), len(ignored.test), ignored.train_labels) == (2, 1, None)


def test_a_class_may_be_called_train():
    layout = find_layout([f"{label}/{k}.png" for label in ("car", "plane", "train") for k in range(2)])
    assert layout.classes == ("car", "plane", "train")


def test_parts_but_none_to_train_on():
    with pytest.raises(UserError, match=r"holds Testing/ and val/ but no train/: rename .* --data FOLDER/Testing$"):
        find_layout(["Testing/x/1.png", "val/x/1.png"])


def test_letters_with_accents_are_one_class_in_either_spelling():
    layout = find_layout(["train/caf\u00e9/1.png", "train/b/1.png", "test/cafe\u0301/1.png"])
    assert layout.test_labels.tolist() == [1]


def test_unknown_test_class():
    with pytest.raises(UserError) as error:
        find_layout(["train/x/1.png", "train/y/1.png", "test/z/1.png"])
    assert str(error.value) == (
        "class 'z' of test/ has no folder in train/, which has 'x', 'y': "
        "add it, remove it, or ignore labels with --images.labels none"
    )
