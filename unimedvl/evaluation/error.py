"""What can go wrong in an evaluation for a reason that the user can mend."""

from __future__ import annotations


class EvaluationError(ValueError):
    """One line that says what was wrong and what would be right."""
