"""The section ``evaluate`` of a recipe: the protocol, and a section for every evaluator with settings of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import EVALUATORS
from clsp.settings.types import extended, sections

if TYPE_CHECKING:

    class EvaluateSection(EvaluateConfig):
        """`EvaluateConfig` with a section for every evaluator that has settings of its own."""

else:
    _OWN = [(name, made.Settings) for name, made in EVALUATORS.items() if made.Settings is not EvaluateConfig]
    EvaluateSection = extended(EvaluateConfig, sections(_OWN))
