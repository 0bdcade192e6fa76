"""The optics of one camera and objective: scale, white point, flat field, field of view."""
