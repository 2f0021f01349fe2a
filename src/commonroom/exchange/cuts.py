"""The fault that says nothing against what was sent."""


class Unreachable(Exception):
    """The hub could not be reached or could not answer: keep what was to be sent and try again later."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after  # seconds the hub asked to wait, when it did
