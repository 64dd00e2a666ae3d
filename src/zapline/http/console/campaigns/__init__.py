"""Pages of campaigns: form, list, progress, recipients; only the route lists import them."""
