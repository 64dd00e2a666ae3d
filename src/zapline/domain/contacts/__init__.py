"""Who a message is from or to: JIDs and LIDs, phone numbers, canonical addresses. Any package above may import it."""
