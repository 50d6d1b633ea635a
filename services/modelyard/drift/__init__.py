"""How far the rows that are served lie from those that a version was made with.

    publish -> make.py        rows and answers of the evaluation -> reference.json: bins and shares of every feature
    serving -> extract.py     copies of rows -> one column per feature
               bins.py        columns -> counts by bin, which observing/ adds to the metrics
    psi.py                    shares then, shares now -> one number per feature

Drift says that inputs or answers look different, never how good the answers are: that takes the true
values, see observing/predictions.py.
"""
