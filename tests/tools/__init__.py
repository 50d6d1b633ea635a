"""Tools that are fetched, not installed: each by one small script, into build/tools."""
