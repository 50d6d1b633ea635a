"""The service of the model `next_item`: its typed API."""
