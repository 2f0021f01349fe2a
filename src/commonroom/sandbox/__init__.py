"""The sandbox: the product itself with invented parties, partners that answer, a clock that moves and faults on demand.

What an end point does here it can do with a hub in earnest: nothing on the way is a stand-in.
"""

from commonroom.sandbox.partners import ANSWER_TYPE, GREETING_TYPE, PARTNERS, Partner
from commonroom.sandbox.stage import NEWCOMER, Newcomer, newcomer, open_folder, prepare

__all__ = [
    "ANSWER_TYPE",
    "GREETING_TYPE",
    "NEWCOMER",
    "PARTNERS",
    "Newcomer",
    "Partner",
    "newcomer",
    "open_folder",
    "prepare",
]
