"""Vectors by id (`FaissIndex`) and documents by query (`Retriever`)."""
