"""Pages of conversations, their replies and files; the pages of campaigns and settings import them."""
