"""The service of the model `digits_ensemble`: its typed API."""
