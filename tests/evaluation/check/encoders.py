"""Where bugs are planted: encoders that are good but for what overrides them."""

from sentence_transformers import SentenceTransformer

from embedkit.evaluation.check import CHECKS

NAMES = [one.name for one in CHECKS]
TEXTS = ["a cat", "the dog barks", "one two three four", "def return if not true", "the bird sings on the mat " * 4]


def statuses(findings):
    return {finding.name: finding.status for finding in findings}


class Wrapper:
    """A duck-typed encoder around a good one. Each bug overrides a method."""

    def __init__(self, encoder):
        self.encoder = encoder

    def get_embedding_dimension(self):
        return self.encoder.get_embedding_dimension()

    def get_num_layers(self):
        return self.encoder.get_num_layers()

    def encode(self, inputs, *, batch_size=32, truncate_dim=None, num_layers=None):
        vectors = self.batch([inputs] if isinstance(inputs, str) else inputs, batch_size, truncate_dim, num_layers)
        return vectors[0] if isinstance(inputs, str) else vectors

    def batch(self, texts, batch_size, truncate_dim, num_layers):
        options = {"batch_size": batch_size, "truncate_dim": truncate_dim, "num_layers": num_layers}
        return self.changed(self.encoder.encode(texts, **options), texts)

    def changed(self, vectors, texts):
        return vectors


def bare(encoder):
    return SentenceTransformer(modules=list(encoder), device="cpu")


def patched(replace):
    """A bug in the `encode` of embedkit's own encoder, whose class is final."""

    def plant(encoder):
        encode = encoder.encode
        encoder.encode = lambda inputs, prompt=None, **options: replace(encode, inputs, prompt, options)
        return encoder

    return plant


def masking(make_encoder, prompt):
    encoder = make_encoder(prompts={"query": prompt, "document": ""})
    encoder.set_pooling_include_prompt(False)
    return encoder
