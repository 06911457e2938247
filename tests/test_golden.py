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
    assert expected is not None, f"nothing is known of {name}: python tests/golden.py --add {name}"
    found = golden.train(name, world, tmp_path / "encoder")
    if found["arithmetic"] == expected["arithmetic"]:
        assert found == expected
    else:
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-3)
