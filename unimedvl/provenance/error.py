"""The one exception type of marking and verifying."""


class ProvenanceError(ValueError):
    """A picture could not be signed, for a reason that its user can act on, in one line."""
