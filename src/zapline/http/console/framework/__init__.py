"""What all pages of the console share: routes and layout, sessions and forms, translation, formatting, live updates.

Only the console imports it; it knows no page.
"""
