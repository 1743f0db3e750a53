"""What is measured, as scripts that print tables. Run from the project's folder: `python -m benchmarks.nano`."""
