"""A short training of every method gives the bytes that it gave before."""

from __future__ import annotations

import pytest

import golden

KNOWN = {name: list(entries.values()) for name, entries in golden.known().items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return golden.make_world(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", [*golden.METHOD_ARMS, *golden.OTHER_ARMS])
def test_a_training_is_what_it_was(world, tmp_path, name):
    expected = golden.known().get(name)
    assert expected, f"nothing is known of {name}: python tests/golden.py --add {name}"
    if name.startswith(("dino", "swav")) and release(golden.arithmetic()) not in map(release, expected):
        pytest.skip("their first weights are trunc_normal_'s, which torch 2.10 and 2.14 draw in their own ways")
    found = golden.train(name, world, tmp_path / "encoder")
    if golden.arithmetic() in expected:
        assert found == expected[golden.arithmetic()]
    else:
        assert alike(found, next(iter(expected.values())))


def release(arithmetic):
    """``torch 2.14`` of ``torch 2.14.1, AVX2, ...``."""
    return arithmetic.partition(",")[0].rpartition(".")[0]


def alike(one, other):
    """Whether losses are those of another arithmetic: some pixels of the bank differ, and each step enlarges that."""
    first = one["losses"][0] == pytest.approx(other["losses"][0], rel=1e-4, abs=1e-5)
    return first and one["losses"] == pytest.approx(other["losses"], rel=0.05, abs=0.2)


def test_what_is_known_of_several_arithmetics_is_alike():
    assert [name for name, (one, *more) in KNOWN.items() for other in more if not alike(one, other)] == []
