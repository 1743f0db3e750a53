"""What a set of records holds, counted in one pass with bounded memory, as numbers and as a page.

tally   counters of names and of numbers whose memory does not grow with what is counted
stages  the stages of a build, or the shards of a set, as streams of records and of what was dropped
count   a stage's numbers
plots   bars and histograms as inline SVG
card    all stages as one HTML page, in the manner of a data card
"""
