"""The Evolution API: what it sends, what it answers, and how it fails."""
