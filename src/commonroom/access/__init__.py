"""Access: who sees which rows and items of which dataset, and the trail of reads. What is not granted is denied.

Who somebody is, is identity's business; the datasets belong to other rooms, which ask here before they read.
"""

from commonroom.access.policies import Grant, Policy, Scope, load, rows
from commonroom.access.predicates import Predicate
from commonroom.access.trail import audit

__all__ = ["Grant", "Policy", "Predicate", "Scope", "audit", "load", "rows"]
