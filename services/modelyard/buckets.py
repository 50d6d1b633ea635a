"""Edges of the histogram of request durations, in seconds: what a latency objective can be measured at.

Apart from metrics.py, which decides where it stores when it is imported: spec.py is read by commands that store none.
"""

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
