"""What holds for tenants: the customers whose units one installation serves."""
