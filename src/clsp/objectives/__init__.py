"""Objectives: pure functions of embeddings, weights and targets; those that can pull a positive are found by name."""

from typing import TYPE_CHECKING

from clsp.registry import Registry

if TYPE_CHECKING:
    from clsp.objectives.base import Objective

OBJECTIVES: "Registry[Objective]" = Registry("objective", "clsp.objectives", "clsp.objectives.base:Objective")
