"""Part of heme-edge. Research use only."""
