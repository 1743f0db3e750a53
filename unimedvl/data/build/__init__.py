"""A data build: a recipe's sources read, checked, and written as shards; killed at any moment, it goes on.

recipe       what a build is, as pydantic models filled from YAML
instruments  which models and servers a recipe may name, and what makes them
ready        before anything is read: that they are there, and in which version
run          the stages one after another, alone in their folder
lanes        a stage's work shared out over processes, with progress
ray_engine   the same over the workers of Ray
lock         one build in a folder at a time
places       where the sources lie; miniatures written
chunks       the files of a stage, each there whole or not at all
rows         the records that were read, numbered through, and found again
decisions    what the stages decided of them, a page for each chunk

The stages, in their order; each leaves a folder of its own:

read        items read, images opened, the coarse rules applied; made: captions and words of pairs
repeated    duplicates and what evaluation sets share, dropped
aligned     text and image measured, and the better part kept
parted      train, validation and test by patient
finished    shards of each split
report      what became of everything that was read; the counts add up
"""
