"""What stands for a field that shall stay as it is, where None means something of its own."""

import enum


class Unchanged(enum.Enum):
    """That a field shall stay as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
