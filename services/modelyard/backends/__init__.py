"""Code that runs an artifact: one file per runtime, and the chain that chooses."""
