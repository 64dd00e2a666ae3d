"""Pure decisions: no event loop, no clock, no chance, no logging, no input or output."""
