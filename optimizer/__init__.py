"""How the best deployment is found, explained and shown."""
