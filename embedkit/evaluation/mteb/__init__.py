"""The bridge to mteb: encoders and retrievers as its models, its results with the items kept. Imports mteb."""
