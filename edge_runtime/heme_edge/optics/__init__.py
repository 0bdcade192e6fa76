"""What a camera's optics do to a picture, measured from what it sees."""
