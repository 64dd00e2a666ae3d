"""What units keep of the files of their messages.

Imports postgres; imported by the packages above sql."""
