"""Data files from which the simulated studies take their anatomy; README.md states their licences."""
