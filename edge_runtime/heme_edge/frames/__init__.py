"""Frame sources: cameras, streams, videos, folders and the simulated stage."""
