"""The OpenAPI document, generated from the route table, and its reference page. Imported by ``http.app`` alone."""
