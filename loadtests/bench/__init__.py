"""The benchmark: the served path beside its floors and its peers, in one run on one machine."""
