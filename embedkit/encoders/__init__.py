"""From inputs to vectors. Only this shelf knows modalities."""
