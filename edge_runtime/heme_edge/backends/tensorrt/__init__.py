"""TensorRT: engines built on the device, kept under a fingerprint, and run from there."""
