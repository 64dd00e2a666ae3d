"""The pages of conversations: list and search, one thread with its replies, the files of messages.

The pages of campaigns and settings import it.
"""
