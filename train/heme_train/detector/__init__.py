"""Training the detector: composed marrow, real fields, and a small network for centres."""
