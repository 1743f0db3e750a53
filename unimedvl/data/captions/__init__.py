"""Captions for generation, as the published set has them (arXiv 2510.15710): written, judged by rules, kept beside.

generation  from a captioned image to the records that ask for it
original    what a record says of its image
writer      who writes: the interface, and any captioner as writer
embedded    the writer without a model: templates over the record's own text and labels
rules       what a written text may not do, and what other words for a short text may not change
facts       what a text states, read by a word list
lexicon     the word list
chat        a language model that is asked in words alone
answers     what a model has said, kept
"""
