"""Drawn marrow smears and a simulated microscope stage over them."""
