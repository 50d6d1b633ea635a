"""The service of the model `digits_vae`: its typed API."""
