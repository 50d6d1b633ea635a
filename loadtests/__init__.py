"""Load tests: what the server does under load, measured from outside."""
