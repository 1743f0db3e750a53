"""The one exception type of hospital interfaces."""

from __future__ import annotations


class HospitalError(ValueError):
    """A study, a result or a setting can't be used, for a reason that its user can act on.

    The message is one line: what was wrong, and what would be right. It names no patient.
    """
