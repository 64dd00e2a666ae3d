"""What all pages share: layout, session checks, forms, translation, formatting. It knows no page."""
