"""Processes of a run share the cores. Apart from the other tests: both processes import what this module imports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pretended import pretend

from clsp import cores, distributed
from clsp.engine import threads
from gloo import two


def neighbours(rank):
    """What a process is given that shares its cores with the other one; the second one sees more of other work."""
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(8)
        pretend(patch, 8, 1.6 * rank)
        shared = threads.bind().number
        with distributed.by_itself():  # a stage that one process does by itself
            alone = threads.bind().number if rank == 0 else 8
        patch.setattr(cores, "allowed", lambda: frozenset(range(4 * rank, 4 * rank + 4)))
        patch.setattr(cores, "busy", lambda: 0.0)
        threads._state = threads._State()
        torch.set_num_threads(4)
        return {"shared": np.int64(shared), "alone": np.int64(alone), "apart": np.int64(threads.bind().number)}


def test_processes_of_a_group_share_their_cores_and_have_the_same_number(tmp_path):
    first, second = two(neighbours, tmp_path)
    assert first["shared"] == second["shared"] == 3  # 8 cores, 2 busy for one of them, two processes
    assert first["alone"] == 8
    assert first["apart"] == second["apart"] == 4  # each has cores of its own
