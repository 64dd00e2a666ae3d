"""The health page and the explanations of its checks; the overview and the route lists import them."""
