"""The hub: what is uploaded is said before, and what can go wrong is one line."""

from __future__ import annotations

import pytest
from huggingface_hub import errors

from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.errors import UserError
from clsp.publish.export import Wish, export
from clsp.publish.hub import push, require_name

RESNET = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}


class Repo(str):
    repo_id = "me/model"


class Api:
    """Stands for the hub: notes every call; ``error`` is raised by the call of that name."""

    def __init__(self, **error):
        self.calls, self.error = [], error

    def _noted(self, name, arguments):
        self.calls.append((name, arguments))
        if name in self.error:
            raise self.error[name]

    def whoami(self):
        self._noted("whoami", {})
        return {"name": "me"}

    def create_repo(self, name, **arguments):
        self._noted("create_repo", {"name": name, **arguments})
        return Repo(f"https://huggingface.co/{name}")

    def upload_folder(self, **arguments):
        self._noted("upload_folder", arguments)


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model[1].safetensors", "secret.txt"):
        (tmp_path / name).write_text("x" * 1500)
    return tmp_path


def refused(status):
    class Response:
        status_code, headers, request, text = status, {}, None, "no"

    error = errors.HfHubHTTPError.__new__(errors.HfHubHTTPError)
    Exception.__init__(error, "refused")
    error.response, error.server_message = Response(), None
    return error


class ConnectError(Exception):
    """As HTTP libraries call it."""


class TransportError(ConnectError):
    """Likewise."""


def test_what_is_uploaded_is_said_before_and_nothing_else_is(folder, capsys):
    api = Api()
    names = ["config.json", "model[1].safetensors"]
    assert push(folder, names, "me/model", api=api) == "https://huggingface.co/me/model"
    told = capsys.readouterr().err
    assert "me uploads 2 files, 3 kB, to the model me/model" in told
    assert all(name in told for name in names) and "secret" not in told
    created, uploaded = (arguments for name, arguments in api.calls if name in ("create_repo", "upload_folder"))
    assert created["private"] is True and created["exist_ok"] is True and created["repo_type"] == "model"
    from huggingface_hub.utils import filter_repo_objects

    every = [path.name for path in folder.iterdir()]
    assert sorted(filter_repo_objects(every, allow_patterns=uploaded["allow_patterns"])) == names


@pytest.mark.parametrize(
    ("names", "kind", "gone"),
    [(["model_index.json"], "model", "samples.png"), (["ids.npy"], "dataset", "shard-*.npy"), (["x"], "model", None)],
)
def test_what_an_earlier_upload_left_goes(folder, names, kind, gone):
    api = Api()
    for name in names:
        (folder / name).write_text("x")
    push(folder, names, "me/model", kind, api=api)
    patterns = api.calls[-1][1]["delete_patterns"]
    assert patterns is None if gone is None else gone in patterns


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"whoami": errors.LocalTokenNotFoundError("none")}, "hf auth login"),
        ({"whoami": TransportError("Name or service not known")}, "cannot be reached"),
        ({"whoami": ConnectionError("refused")}, "cannot be reached"),
        ({"whoami": errors.OfflineModeIsEnabled("offline")}, "HF_HUB_OFFLINE"),
        ({"whoami": refused(401)}, "token is not valid"),
        ({"create_repo": refused(403)}, "may not write"),
        ({"upload_folder": refused(500)}, "status 500"),
    ],
)
def test_what_goes_wrong_is_one_line(folder, error, words):
    api = Api(**error)
    with pytest.raises(UserError, match=words) as caught:
        push(folder, ["config.json"], "me/model", api=api)
    assert "\n" not in str(caught.value) and "me/model" in str(caught.value)
    assert api.calls[-1][0] == next(iter(error))  # nothing is tried after it


def test_our_own_mistakes_are_not_hidden(folder):
    with pytest.raises(KeyError):
        push(folder, ["config.json"], "me/model", api=Api(create_repo=KeyError("x")))


@pytest.mark.parametrize(
    "name", ["a/b/c", "", "model", "me/", "me/na me", "-x", "me/..", "https://huggingface.co/me/x"]
)
def test_names_that_the_hub_refuses_are_refused_at_once(name):
    with pytest.raises(UserError, match="write USER/NAME"):
        require_name(name)


def test_export_pushes_where_a_name_is_given_alone(tmp_path, monkeypatch):
    api = Api()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    spec = EncoderSpec(name="resnet18", args=RESNET, channels=1, size=16, stem="small", mean=[0.5], std=[0.5])
    save_encoder(tmp_path / "e", spec.build().eval(), spec, {})
    export(Wish(tmp_path / "e", tmp_path / "x", "timm"))
    assert api.calls == []
    exported = export(Wish(tmp_path / "e", tmp_path / "y", hub="me/model"))
    uploaded = api.calls[-1][1]
    assert uploaded["repo_id"] == "me/model" and uploaded["folder_path"] == str(tmp_path / "y")
    assert set(exported.names) == {"model.safetensors", "config.json", "README.md"} == set(uploaded["allow_patterns"])
    assert "timm.create_model('hf-hub:me/model', pretrained=True)" in (tmp_path / "y" / "README.md").read_text()
