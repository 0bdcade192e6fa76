"""``heme-edge bench``: speed, memory and agreement of everything that runs on this machine."""
