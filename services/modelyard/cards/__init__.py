"""`modelyard card`: what a version is, how good, how fast on this machine, on one page of Markdown with one picture.

readme    what the model's README says of its data and its limits
latency   runs of the version at several batch sizes, now
page      all of it as Markdown; command: from options to files
"""
