"""The service of the model `digits`: its typed API."""
