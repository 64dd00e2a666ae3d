"""Has Evolution keep each line as its unit wants it."""
