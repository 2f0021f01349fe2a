"""Who is this? Records of people compared, weighed and decided: pure, without database or network."""

from commonroom.registers.learners.matching.columns import decide_many
from commonroom.registers.learners.matching.decide import decide
from commonroom.registers.learners.matching.evaluate import Evaluation, evaluate
from commonroom.registers.learners.matching.explain import explain, guard_in_words
from commonroom.registers.learners.matching.keys import block_keys, query_keys
from commonroom.registers.learners.matching.normalise import Prepared, normalise, normalise_known
from commonroom.registers.learners.matching.parameters import Frequencies
from commonroom.registers.learners.matching.people import Decision, Details, Known, Overrides, Part, Weighed
from commonroom.registers.learners.matching.score import weigh

__all__ = [
    "Decision",
    "Details",
    "Evaluation",
    "Frequencies",
    "Known",
    "Overrides",
    "Part",
    "Prepared",
    "Weighed",
    "block_keys",
    "decide",
    "decide_many",
    "evaluate",
    "explain",
    "guard_in_words",
    "normalise",
    "normalise_known",
    "query_keys",
    "weigh",
]
