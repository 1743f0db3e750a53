"""What is said of each modality: one file each, with a `WORDS`."""
