"""A short training of every method gives the bytes that it gave before."""

from __future__ import annotations

import pytest

import golden


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return golden.make_world(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", [*golden.METHOD_ARMS, *golden.OTHER_ARMS])
def test_a_training_is_what_it_was(world, tmp_path, name):
    expected = golden.known().get(name)
    assert expected, f"nothing is known of {name}: python tests/golden.py --add {name}"
    found = golden.train(name, world, tmp_path / "encoder")
    if golden.arithmetic() in expected:
        assert found == expected[golden.arithmetic()]
    else:  # rounded otherwise, the bank too: some pixels differ, and each step enlarges that
        first = next(iter(expected.values()))["losses"][0]
        assert found["losses"][0] == pytest.approx(first, rel=1e-3, abs=1e-3)
