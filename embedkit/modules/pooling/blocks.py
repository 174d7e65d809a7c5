"""The two halves of a Perceiver block: attention from one set of vectors to another, and a gated MLP."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class CrossAttention(nn.Module):
    """Multi-head attention of `queries` to `context`, each normalised by its own LayerNorm.

        softmax(Q Kᵀ / √head_dim) V W_o  with  Q = LN(queries) W_q,  [K, V] = LN(context) W_kv,  no biases

    Args:
        dim: Width of both.
        num_heads: Heads; the inner width is num_heads × head_dim, whatever `dim` is.
        head_dim: Width of one head.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * head_dim
        self.query_norm, self.context_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_queries = nn.Linear(dim, inner, bias=False)
        self.to_keys_and_values = nn.Linear(dim, 2 * inner, bias=False)
        self.to_output = nn.Linear(inner, dim, bias=False)

    def forward(
        self, queries: Float[Tensor, "n queries dim"], context: Float[Tensor, "n context dim"]
    ) -> Float[Tensor, "n queries dim"]:
        """What is added to the queries; either may have one row, which then serves all of the other's."""
        n = max(len(queries), len(context)) if len(queries) and len(context) else 0
        keys, values = self.to_keys_and_values(self.context_norm(context)).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._heads(self.to_queries(self.query_norm(queries)), n), self._heads(keys, n), self._heads(values, n)
        )
        output: Tensor = self.to_output(attended.transpose(1, 2).flatten(2))
        return output

    def _heads(self, inner: Tensor, n: int) -> Tensor:
        rows, length, width = inner.shape
        split = inner.reshape(rows, length, self.num_heads, width // self.num_heads)
        return split.transpose(1, 2).expand(n, -1, -1, -1)


class GatedMLP(nn.Module):
    """GEGLU: W_2 (u ⊙ gelu(g)) + b_2  with  [u, g] = W_1 LN(x) + b_1, four times as wide inside.

    Args:
        dim: Width of input and output.

    Reference:
        Noam Shazeer: GLU Variants Improve Transformer. arXiv 2002.05202, 2020, Eq. 6 (with biases).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 8 * dim)
        self.narrow = nn.Linear(4 * dim, dim)

    def forward(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """What is added to the vectors."""
        values, gates = self.widen(self.norm(vectors)).chunk(2, dim=-1)
        output: Tensor = self.narrow(values * functional.gelu(gates))
        return output
