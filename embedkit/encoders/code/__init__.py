"""Source code as documents: functions, classes and docstrings that fit an encoder."""

from typing import Literal

from embedkit.encoders.chunk import Chunk, CountTokens
from embedkit.encoders.code.grammar import GRAMMARS, chunk_grammar
from embedkit.encoders.code.python import chunk_python
from embedkit.encoders.split import Budget
from embedkit.errors import InputError

__all__ = ["LANGUAGES", "chunk_code"]

LANGUAGES = {
    ".py": "python",
    ".pyi": "python",
    ".pyw": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".java": "java",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
    ".hxx": "cpp",
    ".rb": "ruby",
}
"""Language of a file by its suffix."""


def chunk_code(
    source: str,
    *,
    language: str,
    module: str = "",
    count_tokens: CountTokens,
    max_tokens: int = 256,
    comments: Literal["keep", "drop"] = "keep",
) -> list[Chunk]:
    r"""Cut source code into functions, classes, module-level statements and docstrings.

    Every code chunk begins with a comment that names it and the imports it uses. A class holds the signatures of its
    methods, not their bodies. Docstrings of Python are chunks of text of their own, named after their owner. Statements
    outside of definitions are a chunk when they come to at least 8 tokens; imports are none. What is longer than the
    budget is cut between statements, then lines, then inside a line; each part repeats the header.

    Args:
        source: Text of one file.
        language: One of the values of `LANGUAGES`.
        module: Dotted name that goes before every name.
        count_tokens: Tokens of a string, special tokens not counted.
        max_tokens: The most tokens of a chunk, at least 8.
        comments: Whether comments stay. Those directly above a definition belong to it, but its `line` does not
            count them.

    Returns:
        Chunks in the order of the source, classes before their methods; none for a source without code.

    Raises:
        InputError: An argument is out of range, or Python source does not parse.
        MissingExtraError: The grammar of `language` is not installed.

    Example:
        >>> chunks = chunk_code(
        ...     "import os\ndef here(): return os.getcwd()",
        ...     language="python",
        ...     module="places",
        ...     count_tokens=lambda text: len(text.split()),
        ... )
        >>> print(chunks[0].text)
        # places.here uses os
        def here(): return os.getcwd()
    """
    if comments not in {"keep", "drop"}:
        raise InputError(f"comments must be 'keep' or 'drop'; received {comments!r}")
    budget = Budget(count_tokens, max_tokens)
    if language == "python":
        return chunk_python(source, module=module, budget=budget, comments=comments)
    if language not in GRAMMARS:
        raise InputError(f"language must be one of {sorted({'python', *GRAMMARS})}; received {language!r}")
    return chunk_grammar(source, language=language, module=module, budget=budget, comments=comments)
