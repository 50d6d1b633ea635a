"""From a trained model to a folder that can be served: what a model's scripts call, and what `modelyard new` does."""
