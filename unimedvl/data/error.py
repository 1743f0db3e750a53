"""The one exception of the data engine."""

from __future__ import annotations


class DataError(ValueError):
    """Data that can't be used; the message names the file, the line or record, and the field."""
