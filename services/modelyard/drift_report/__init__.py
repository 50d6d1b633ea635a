"""`modelyard drift report`: what a payload log says beside a version's reference.

files -> log.py (events, line by line) -> tally.py (counts by bin) -> summary.py (figures) -> plot.py, page.py
"""
