"""Interleaved construction: from registered pairs to records that ask for one image out of another.

records           from a source's sample to a record with its words
tasks             the table of the tasks; each is a file:
                  super_resolution, translation, staining, segmentation, counterfactual
task              what a task is
wording           templates with synonyms, chosen by record and seed
rewording         other words by a language model, judged by rules
degradation       how a sharp image is made coarse, declared
registration      whether two images lie on each other
"""
