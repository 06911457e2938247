"""The evaluators by name, one file each: what was trained, and data with named columns, become measures.

A new one is a file here, or a class in another package that an entry point of the group ``clsp.evaluation.evaluators``
names. Loop, engine and report know none of them.
"""

from clsp.evaluation.evaluator import Evaluator
from clsp.registry import Registry

EVALUATORS: Registry[Evaluator] = Registry(
    "evaluator", "clsp.evaluation.evaluators", "clsp.evaluation.evaluator:Evaluator"
)
