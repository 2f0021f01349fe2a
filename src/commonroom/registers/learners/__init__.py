"""The register of learners: our own id for each learner, found by the numbers senders use."""

from commonroom.registers.learners.ids import learner_ids

__all__ = ["learner_ids"]
