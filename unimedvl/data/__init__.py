"""The data engine: records, where they come from, and what holds them.

error    the one exception
whole    files written whole or not at all
record   one example as the published set has it, with where it is from and what was decided of it
jsonl    records as the published JSON lines
shards   records as Parquet, with their images inside
source   what a data set says of itself, and what its reader yields
sources/ a file per data set
miniatures/  the same on-disk forms with invented texts and simulated images
archives images inside archives and tables
reports  what data sets of reports share
choices  what those of multiple choice share
edits    what those of pairs share
slices   what those of volumes share
quality/ the three stages of quality control
duplicates/  the same image or text found again, splits by patient, contamination
build/   a recipe's sources read, checked and written
scan     records of shards without their images, and single samples fetched
staged   what later stages of a build decided, joined to its records
inspect  records to be looked at
stats/   what a set holds, as numbers and as a page
page     HTML pages and thumbnails
captions/    descriptions, prompts and plans to draw by
interleaved/ tasks made of pairs, worded by templates or a language model
privacy/ DICOM files without what tells whose they are
examples records as examples of the model's tasks
loader   shards as one shuffled, weighted stream
"""
