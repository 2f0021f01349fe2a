"""Registers: who the providers are and who the learners are. `providers` and `learners` are used by their own names."""

from commonroom.registers import learners, providers

__all__ = ["learners", "providers"]
