"""Merging requests into batches: pure merge and split, and the queue that waits."""
