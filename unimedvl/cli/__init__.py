"""The shell's side of the package: thin commands over the same calls that Python users make.

Nothing here imports PyTorch or NumPy before a command runs, so that help is there at once.
"""
