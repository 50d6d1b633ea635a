"""The service of the model `embed`: its typed API, its tokenizer and the sentences that it searches."""
