"""Pure functions on arrays, shared by every shelf."""
