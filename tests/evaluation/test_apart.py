"""What is set apart to test on: a fraction of every class, groups whole."""

import dataclasses

import numpy as np
import pytest

from clsp.errors import UserError
from clsp.evaluation.apart import flags, fraction_of_each, groups_of, held_out
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.online import OnlineKNN
from clsp.evaluation.task import make_task, set_apart
from clsp.images.imageset import Split
from clsp.tasks.classify.config import ClassifyConfig
from clsp.tasks.classify.stage import divided


def with_columns(images, **columns):
    return dataclasses.replace(images, train=dataclasses.replace(images.train, columns=columns))


def of_patients(make_images, count=200, each=10, labels=None):
    """Images of patients, of whom each has images of one class, or of ``labels``."""
    images = make_images(count, None)
    patients = [f"p{row // each}" for row in range(count)]
    labels = np.array([row // each % 2 for row in range(count)]) if labels is None else labels
    images = dataclasses.replace(images, train=dataclasses.replace(images.train, labels=labels), classes=("a", "b"))
    return with_columns(images, group=patients)


def sides(task):
    return set(task.train.column("group")), set(task.test.column("group"))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_group_lies_on_one_side_and_classes_keep_their_fraction(make_images, classes):
    labels = np.arange(200) // 10 % 2 if classes < 3 else np.random.default_rng(0).integers(0, 2, 200)
    images = of_patients(make_images, labels=labels)
    task = make_task(images, EvaluateConfig(), seed=0)
    fitted, tested = sides(task)
    assert not fitted & tested and len(tested) == 4
    assert "in whole groups" in task.note
    assert classes == 3 or np.bincount(task.test.labels).tolist() == [20, 20]
    held = set(task.train.column("group")[task.held])
    assert held and not held & set(task.train.column("group")[~task.held])
    apart = set_apart(images, EvaluateConfig(), seed=0)
    assert [images.train.names[row] for row in apart] == list(task.test.names)


def test_groups_of_any_size(make_images):
    generator = np.random.default_rng(1)
    for fraction in (0.05, 0.2, 0.5, 0.9):
        for _ in range(20):
            groups = np.sort(generator.integers(0, generator.integers(3, 30), 90))
            labels = generator.integers(0, 3, 90)
            marked = fraction_of_each(labels, fraction, groups)
            assert not set(groups[marked]) & set(groups[~marked])
            assert set(labels[~marked]) == set(labels)  # no class loses all that it can be learnt from
    sizes = np.repeat(np.arange(60), generator.integers(1, 6, 60))
    assert abs(fraction_of_each(np.zeros(len(sizes)), 0.2, sizes).mean() - 0.2) < 0.03


def test_images_that_belong_to_nothing_are_drawn_as_ever(make_images):
    images = make_images(60, None)
    plain = make_task(images, EvaluateConfig(), seed=0)
    for column in ([""] * 60, [f"g{row}" for row in range(60)], list(range(60))):
        alone = with_columns(images, group=column)
        assert groups_of(alone.train) is None
        assert make_task(alone, EvaluateConfig(), seed=0).test.names == plain.test.names
    some = with_columns(images, group=["x"] * 30 + [""] * 30)
    assert np.bincount(groups_of(some.train)).tolist() == [30, *[1] * 30]
    fitted, tested = sides(make_task(some, EvaluateConfig(), seed=0))
    assert tested == {""} and "x" in fitted


def test_one_group_a_class_leaves_nothing_to_test_on_and_says_why(make_images, capsys):
    images = of_patients(make_images, count=20)
    task = make_task(images, EvaluateConfig(), seed=0)
    assert task.classes == 0
    assert "0 to test on (images of one 'group' stay together)" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no class has two groups \(column 'group'\) of the 20 images"):
        divided(images, ClassifyConfig(), seed=0)


def test_a_classifier_is_tested_on_groups_that_it_has_not_learnt(make_images):
    data = divided(of_patients(make_images), ClassifyConfig(), seed=0)
    assert not set(data.train.column("group")) & set(data.test.column("group"))
    assert len(data.test) == 20 and "images of one group stay together" in data.note


def test_validation_images_are_whole_groups(make_images):
    images = of_patients(make_images)
    for count, groups in ((40, 4), (35, 4), (5, 1)):
        task = make_task(images, EvaluateConfig(validation_images=count), seed=0)
        fitted, tested = sides(task)
        plain = make_task(images, EvaluateConfig(), seed=0)
        assert len(task.test) == count and len(tested) == groups and not fitted & tested
        assert not set(plain.test.names) & {*task.test.names, *task.train.names}
        assert len(task.train) == len(plain.train) - 10 * groups
    with pytest.raises(UserError, match=r"validation_images 155 leaves 0 of 160 .* the largest has 10: choose fewer"):
        make_task(images, EvaluateConfig(validation_images=155), seed=0)


def test_what_is_read_while_training_does_not_ask_for_what_it_holds(make_images):
    images = of_patients(make_images)
    images.train.images[:, 0, 0, 0] = np.arange(200) // 10  # the patient
    online = OnlineKNN.of(images.train, seed=0)
    sides = [set(part[:, 0, 0, 0].tolist()) for part in (online.references, online.queries)]
    assert not sides[0] & sides[1] and len(sides[1]) == 4
    one = with_columns(images, group=["p"] * 200)
    plain = OnlineKNN.of(with_columns(images).train, seed=0)
    assert np.array_equal(OnlineKNN.of(one.train, seed=0).queries, plain.queries)


def test_choosing_falls_back_to_single_images_where_no_group_can_be_spared():
    labels = np.repeat([0, 1], 20)
    assert held_out(labels, 0.1, labels).sum() == 4
    assert not fraction_of_each(labels, 0.1, labels).any()


@pytest.mark.parametrize("words", [["True", "False"], ["yes", ""], ["1", "no"], [True, False], [1, 0], [1.0, 0.0]])
def test_truth_values_are_read_as_tables_write_them(make_images, words):
    images = with_columns(make_images(60, None), validation=(words * 30))
    assert flags(images.train, "validation").tolist() == [True, False] * 30
    task = make_task(images, EvaluateConfig(validation_images=100), seed=0)
    assert len(task.train) == 24 and len(task.test) == 24


def test_another_word_than_true_or_false_is_refused():
    split = Split(images=np.zeros((2, 1, 8, 8), np.uint8), names=["a", "b"], columns={"validation": ["true", "fold 3"]})
    with pytest.raises(UserError, match="the column 'validation' says 'fold 3' of an image: true and false"):
        flags(split, "validation")
