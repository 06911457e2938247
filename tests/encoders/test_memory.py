"""The memory is a queue of the newest embeddings with their indices."""

from __future__ import annotations

from collections import deque

import pytest
import torch
import torch.nn.functional as F

from clsp.encoders.memory import Memory


@pytest.mark.parametrize("size", [1, 5, 16])
def test_the_memory_is_a_first_in_first_out_queue(size):
    generator = torch.Generator().manual_seed(size)
    memory = Memory(size, 3, seed=0)
    queue = deque(zip(memory.ids.tolist(), memory.rows.clone()), maxlen=size)
    count = 0
    for batch in [1, 2, 3, size, size + 1, 3 * size + 2, *torch.randint(0, 2 * size + 1, (30,), generator=generator)]:
        rows, ids = torch.randn(int(batch), 3, generator=generator), torch.arange(count, count + int(batch))
        count += int(batch)
        memory.add(rows, ids)
        queue.extend(zip(ids.tolist(), F.normalize(rows, dim=1)))
        order = (torch.arange(size) + memory.next) % size  # oldest first
        assert sorted(memory.ids.tolist()) == sorted(i for i, _ in queue)
        assert batch > size or memory.ids[order].tolist() == [i for i, _ in queue]
        place = {int(i): row for i, row in zip(memory.ids, memory.rows)}
        assert all(torch.equal(place[i], row) for i, row in queue if i >= 0)


def test_it_starts_with_random_unit_rows_that_are_no_image():
    memory = Memory(50, 8, seed=0)
    torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(50))
    assert memory.ids.unique().tolist() == [-1]
    assert len(memory.rows.unique(dim=0)) == 50
    assert not torch.equal(memory.rows, Memory(50, 8, seed=1).rows)


def test_half_precision_rows_of_any_length_become_unit_rows():
    memory = Memory(4, 8, seed=0)
    memory.add(100 * torch.randn(4, 8).bfloat16(), torch.arange(4))
    assert memory.rows.dtype == torch.float32
    torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(4))


def test_it_is_part_of_the_checkpoint():
    memory = Memory(4, 2, seed=0)
    memory.add(torch.randn(3, 2), torch.arange(3))
    other = Memory(4, 2, seed=9)
    other.load_state_dict(memory.state_dict())
    for name in ("rows", "ids", "next"):
        assert torch.equal(getattr(memory, name), getattr(other, name))
