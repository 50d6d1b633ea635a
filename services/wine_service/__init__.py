"""The service of the model `wine`: its typed API."""
