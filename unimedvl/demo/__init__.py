"""A demonstration: every task on simulated studies and on real files, written as one page.

entries   what a job gives back: pictures, lines of text, how right it was, how long it took
measure   PSNR, Dice, whether an answer or a report is right
studies   the jobs on simulated studies, whose truth is known
sources   real files that the dependencies ship
files     the jobs on those
run       does all jobs
page      the result as one self-contained HTML file
"""
