"""What every evaluator is: a class with settings and needs that turns what was trained into measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from clsp.evaluation.config import EvaluateConfig

if TYPE_CHECKING:
    from clsp.evaluation.measure import Measure
    from clsp.evaluation.task import Task
    from clsp.evaluation.trained import Trained


class Evaluator(ABC):
    """Measures what was trained; its name is that of its module."""

    Settings: ClassVar[type] = EvaluateConfig
    """Its settings: the section ``evaluate`` itself, or a section of its own there, called like the evaluator."""
    needs: ClassVar[tuple[str, ...]] = ("label",)
    """Columns that the data must have."""
    place: ClassVar[int] = 50
    """Where its measures stand in tables: smaller first."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def of(cls, name: str, config: EvaluateConfig) -> Evaluator:
        """Make the evaluator called ``name`` with its part of the section ``evaluate``."""
        own = cls.Settings is EvaluateConfig
        return cls(config if own else getattr(config, name, None) or cls.Settings())

    @abstractmethod
    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Measure what was trained; nothing where there is nothing to measure.

        Args:
            trained: gives features of the train and test images, which are computed once, and of any others.
            data: the images with their columns.
        """
