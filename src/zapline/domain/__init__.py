"""Pure decisions and values: no event loop, no clock, no randomness, no logging, no input or output.

Every other package may import it; it imports none of them."""
