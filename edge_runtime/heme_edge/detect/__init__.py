"""Finding cells in a field."""
