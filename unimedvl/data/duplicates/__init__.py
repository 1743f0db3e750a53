"""Duplicates and leakage: the same image or text within and across sources, splits by patient, contamination.

hashes         what is kept of an image and of a text: hash of the pixels, perceptual hash, keys of MinHash
prints         what is kept of every record, in columns of some 250 bytes a record
buckets        pairs that share a key, and pairs of codes within a Hamming distance, without comparing all pairs
likeness       whether two images show the same picture, pixel by pixel
screen         a quick look at many pairs at once, which leaves few to be compared so
groups         things that belong together: joined freely, or never across two patients
images         groups of the same image: exact, or perceptual and confirmed
texts          groups of the same text: exact, or MinHash and confirmed
records        records that repeat another: the same images and the same text
splits         train, validation and test by patient
contamination  what a training set shares with evaluation sets
report         what was dropped and why, as JSON and Markdown

Hashes are kept in memory, never images or texts: to confirm a pair, its texts, or its images' thumbnails, are asked
for by number.
"""
