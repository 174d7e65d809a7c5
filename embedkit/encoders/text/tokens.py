"""Texts for a network that is not sentence-transformers' `Transformer`: the tower of texts of CLIP and its kin."""

from pathlib import Path
from typing import Any, Self

from transformers import AutoTokenizer

from embedkit.encoders.inputs import Features, InputModule, PreparedInputs, ReadsText, TokenizedInputs


class TokensInput(ReadsText, InputModule):
    """First module that reads texts with a tokenizer, up to a window.

    Args:
        tokenizer: Of transformers.
        max_seq_length: The window, in tokens; what is longer is cut there.
        fill_window: Whether each text is padded to the window and the padding read like text, as SigLIP was trained.
    """

    config_keys: list[str] = ["max_seq_length", "fill_window"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "tokens_config.json"

    def __init__(self, tokenizer: Any, *, max_seq_length: int, fill_window: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tokenizer: Any  # the base class knows fewer kinds
        self.tokenizer, self.max_seq_length, self.fill_window = tokenizer, max_seq_length, fill_window

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Tokenise."""
        del task
        encoded = self.tokenizer(
            [(prompt or "") + text for text in inputs],
            truncation=True,
            max_length=self.max_seq_length,
            padding="max_length" if self.fill_window else False,
        )
        padding = {
            "input_ids": self.tokenizer.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": getattr(self.tokenizer, "pad_token_type_id", 0),
        }
        known = [name for name in self.tokenizer.model_input_names if name in padding]
        return TokenizedInputs({name: encoded[name] for name in known}, padding, left=False)

    def forward(self, features: Features, **_: Any) -> Features:
        """Leave all to the network behind it."""
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the tokenizer and the settings."""
        del args, safe_serialization, kwargs
        self.tokenizer.save_pretrained(output_path)
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:  # type: ignore[override]
        """Read what `save` wrote."""
        del options
        config = cls.load_config(model_name_or_path, subfolder=subfolder)
        return cls(AutoTokenizer.from_pretrained(Path(model_name_or_path, subfolder), local_files_only=True), **config)
