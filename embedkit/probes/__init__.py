"""What the vectors of an encoder hold, measured: encoder and data in, frozen numbers out."""
