"""What a user of the trainer did that can't be."""


class TrainingError(ValueError):
    """A training that can't begin or go on; the message says what is wrong and what would be right."""
