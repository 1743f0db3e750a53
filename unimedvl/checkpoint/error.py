"""What goes wrong with checkpoints, as one exception type."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be found, read or saved; the message is for the user.

    It names the file, and where it applies the tensor or field, what was expected and what was found.
    """
