"""A data build: a recipe's sources read, checked, and written as shards; killed at any moment, it goes on.

recipe  what a build is, as pydantic models filled from YAML
chunks  the files of a stage, each there whole or not at all
lanes   a stage's work shared out over processes, with progress
read    the first stage: items read, images opened, the coarse rules applied
"""
