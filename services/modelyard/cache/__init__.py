"""The prediction cache: keys, entries, two tiers, and rows in flight that are computed once."""
