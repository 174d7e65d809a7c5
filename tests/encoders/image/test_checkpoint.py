"""Checkpoints of CLIP, SigLIP, ALIGN, ViT and DINOv2, tiny ones made on the spot, against transformers itself."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AlignConfig, CLIPConfig, Dinov2Config, PreTrainedTokenizerFast, SiglipConfig, ViTConfig

import embedkit as ek
from embedkit.errors import InputError, ModelError
from embedkit.losses import PairContrastiveLoss
from embedkit.training.fit import fit

Image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")

TEXTS = ["a cat", "the dog barks on the mat", "", "red green blue one two three " * 9]
WINDOW = 16
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {"image_size": 32, "patch_size": 8}
PROCESSOR = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


def clip(words):
    text = {**SIZES, "vocab_size": words, "max_position_embeddings": WINDOW, "eos_token_id": 3, "bos_token_id": 2}
    return CLIPConfig(text_config=text, vision_config={**SIZES, **PICTURE}, projection_dim=12)


def siglip(words):
    text = {**SIZES, "vocab_size": words, "max_position_embeddings": WINDOW}
    return SiglipConfig(text_config=text, vision_config={**SIZES, **PICTURE})


def align(words):
    text = {**SIZES, "vocab_size": words, "max_position_embeddings": WINDOW}
    vision = {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 32}
    return AlignConfig(text_config=text, vision_config=vision, projection_dim=32)


PAIRS = {"clip": clip, "siglip": siglip, "align": align}
ALONE = {"vit": ViTConfig(**SIZES, **PICTURE), "dinov2": Dinov2Config(**SIZES, **PICTURE, mlp_ratio=2)}


def pictures():
    return np.random.default_rng(0).integers(0, 256, size=(3, 40, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tokenizer):
    """A folder of each kind, with the network it holds."""
    made = {}
    for kind in (*PAIRS, *ALONE):
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        network = transformers.AutoModel.from_config(PAIRS[kind](len(tokenizer)) if kind in PAIRS else ALONE[kind])
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.2 * torch.randn_like(weight))
        network.eval().save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
        if kind in PAIRS:
            names = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
            own = PreTrainedTokenizerFast(
                tokenizer_object=tokenizer.backend_tokenizer,
                pad_token="[PAD]",
                unk_token="[UNK]",
                model_input_names=names,
            )
            own.save_pretrained(folder)
        made[kind] = folder, network
    return made


@pytest.fixture(params=PAIRS)
def pair(request, folders):
    return request.param, *folders[request.param]


def unit(vectors):
    array = vectors.detach().numpy()
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def scaled(images):
    """As the settings say, by hand."""
    rows = [np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BICUBIC)) / 255 for each in images]
    mean, std = np.array(PROCESSOR["image_mean"]), np.array(PROCESSOR["image_std"])
    return torch.tensor(np.stack([((each - mean) / std).transpose(2, 0, 1) for each in rows]), dtype=torch.float32)


def test_vectors_are_those_of_transformers(pair, tokenizer):
    kind, folder, network = pair
    encoder = ek.load(folder, device="cpu")
    with torch.no_grad():
        theirs = network.get_image_features(pixel_values=scaled(pictures())).pooler_output
        np.testing.assert_allclose(encoder.encode(pictures()), unit(theirs), atol=2e-5)
        for text, vector in zip(TEXTS, encoder.encode(TEXTS), strict=True):
            filled = {"padding": "max_length"} if kind == "siglip" else {}
            ids = tokenizer(text, truncation=True, max_length=WINDOW, return_tensors="pt", **filled)
            asked = {"input_ids": ids["input_ids"]}
            if kind != "siglip":
                asked["attention_mask"] = ids["attention_mask"]
            theirs = network.get_text_features(**asked).pooler_output
            np.testing.assert_allclose(vector, unit(theirs)[0], atol=2e-5)


@pytest.mark.parametrize("kind", ALONE)
def test_pictures_alone_get_the_first_token(folders, kind):
    folder, network = folders[kind]
    encoder = ek.load(folder, device="cpu")
    with torch.no_grad():
        theirs = network(pixel_values=scaled(pictures())).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(encoder.encode(pictures()), theirs, atol=2e-5)
    assert encoder.get_embedding_dimension() == 16
    with pytest.raises(InputError, match=r"must be a file"):
        encoder.encode("a cat")


def test_all_kinds_of_pictures_beside_texts(pair, tmp_path):
    encoder = ek.load(pair[1], device="cpu")
    Image.fromarray(pictures()[0]).save(tmp_path / "a.png")
    mixed = encoder.encode(["a cat", tmp_path / "a.png", pictures()[0], Image.fromarray(pictures()[0]).convert("RGBA")])
    np.testing.assert_allclose(mixed[1:], np.tile(mixed[1], (3, 1)), atol=1e-5)
    grey = encoder.encode([pictures()[0, ..., 0], Image.fromarray(pictures()[0, ..., 0])])
    np.testing.assert_allclose(grey[0], grey[1], atol=1e-5)
    assert encoder.get_embedding_dimension() == mixed.shape[1]


def test_padding_and_batches_change_nothing(pair):
    encoder = ek.load(pair[1], device="cpu")
    alone = np.stack([encoder.encode(text) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=1000), alone, atol=2e-6)


def test_it_is_the_same_after_it_was_kept(pair, tmp_path):
    encoder = ek.load(pair[1], device="cpu")
    encoder.save_pretrained(str(tmp_path / "model"))
    again = ek.load(tmp_path / "model", device="cpu")
    inputs = [*pictures(), *TEXTS]
    np.testing.assert_allclose(
        again.encode(inputs), encoder.encode(inputs), atol=1e-6
    )  # convolutions round as they lie
    assert again.fingerprint == encoder.fingerprint
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(theirs.encode(TEXTS[:2]), encoder.encode(TEXTS[:2]), atol=2e-6)


def test_it_goes_on_learning(pair):
    encoder = ek.load(pair[1], device="cpu")
    columns = {"image": list(pictures()), "text": TEXTS[:3]}
    done = fit(encoder, columns, PairContrastiveLoss(temperature=1.0), epochs=8, batch_size=3, learning_rate=1e-3)
    assert min(loss for _, loss in done.losses) < done.losses[0][1] - 0.01


def test_a_broken_torchvision_does_not_matter(folders, tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "torchvision" not in sys.modules
    assert ek.load(folders["clip"][0], device="cpu").encode(["a cat", pictures()[0]]).shape == (2, 12)


def change(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: change(folder, "config.json", model_type="blip"), "of a known kind, align, clip, .* 'blip'"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "must say how pictures are scaled"),
        (lambda folder: change(folder, "preprocessor_config.json", do_pad=True), "cannot be followed"),
        (lambda folder: change(folder, "preprocessor_config.json", size=None), "cannot be followed"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "JSON|cannot"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 20), "cannot load"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot load"),
    ],
)
def test_damaged_folders_are_told(folders, tmp_path, damage, message):
    shutil.copytree(folders["clip"][0], tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelError, match=message):
        ek.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize(("kind", "name"), [("clip", "visual_projection.weight"), ("align", "text_projection.weight")])
def test_weights_that_are_missing_are_told(folders, tmp_path, kind, name):
    shutil.copytree(folders[kind][0], tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights[name]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"lack {re.escape(name)}"):
        ek.load(tmp_path / "model", device="cpu")


def test_a_kept_folder_names_only_known_networks(folders, tmp_path):
    ek.load(folders["vit"][0], device="cpu").save_pretrained(str(tmp_path / "model"))
    (config,) = (tmp_path / "model").rglob("backbone_config.json")
    change(config.parent, config.name, class_name="Trainer")
    (tmp_path / "model" / "embedkit.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="must hold one of AlignTextModel"):
        ek.load(tmp_path / "model", device="cpu")
