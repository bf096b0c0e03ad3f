"""How a run ends early."""


class Failure(Exception):
    """An answer that is wrong by itself, or that never came."""


class Mismatch(Exception):
    """Two answers that differ."""
