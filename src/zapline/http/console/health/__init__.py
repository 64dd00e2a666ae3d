"""The health page and the explanations of its checks.

The overview and the route lists of the console import it.
"""
