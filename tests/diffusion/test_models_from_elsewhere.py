"""Folders of diffusers, made here or elsewhere: read rightly, or refused by name."""

from __future__ import annotations

import json
import shutil

import diffusers
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

from clsp import SyntheticPositivePipeline
from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.unet import build_unet, unet_hash
from clsp.errors import UserError

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("nested", [True, False])
def test_a_saved_diffusers_pipeline_is_read_with_and_without_subfolders(
    draw, unet, settings, anchors, tmp_path, nested
):
    scheduler = diffusers.DDPMScheduler.from_config(settings())
    if nested:
        DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(tmp_path)
    else:
        unet.save_pretrained(tmp_path)
        scheduler.save_pretrained(tmp_path)
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path, clip_sample=True)
    assert unet_hash(pipeline.unet) == unet_hash(unet)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    drawn = pipeline(anchors, 3, num_inference_steps=5, eta=1.0).images
    assert torch.equal(drawn, draw(unet, settings, anchors))


@pytest.mark.parametrize("kind", ["pickle", "empty", "missing", "file"])
def test_folders_without_safetensors_are_refused(unet, settings, tmp_path, kind):
    folder = tmp_path / "model"
    if kind == "pickle":
        scheduler = diffusers.DDPMScheduler.from_config(settings())
        DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder, safe_serialization=False)
        assert list(folder.rglob("*.bin"))
    elif kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UserError, match=r"--diffusion .*safetensors"):
            SyntheticPositivePipeline.from_pretrained(folder)


def test_the_hash_of_a_unet_tells_weights_and_configurations_apart(unet, tiny_diffusion):
    first = unet_hash(unet)
    with torch.no_grad():
        next(unet.parameters()).flatten()[0] += 1e-6
    assert unet_hash(unet) != first
    torch.manual_seed(0)
    assert unet_hash(build_unet(tiny_diffusion(dropout=0.1), channels=1, size=8)) == first


# --- from elsewhere --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(unet, settings, tmp_path):
    """A pipeline as diffusers saves it."""
    DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler.from_config(settings())).save_pretrained(
        tmp_path / "model"
    )
    return tmp_path / "model"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, said):
    with pytest.raises(UserError, match=said) as raised:
        load_diffusion(folder)
    assert str(raised.value).startswith(f"--diffusion {folder}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pipeline", "parts", "said"),
    [
        ("LDMPipeline", {"vqvae": ["diffusers", "VQModel"]}, "LDMPipeline has a VQModel: its U-Net denoises latents"),
        ("LatentPipeline", {"vae": ["diffusers", "AutoencoderKL"]}, "has a AutoencoderKL: its U-Net denoises latents"),
        ("TextPipeline", {"text_encoder": ["transformers", "CLIPTextModel"]}, r"a text_encoder \(CLIPTextModel\)"),
        ("TextPipeline", {"unet": ["diffusers", "UNet2DConditionModel"]}, "has a UNet2DConditionModel; give an uncond"),
        ("DanceDiffusionPipeline", {"unet": ["diffusers", "UNet1DModel"]}, "has a UNet1DModel"),
    ],
)
def test_pipelines_of_other_kinds_are_refused_by_name(folder, pipeline, parts, said):
    edit(folder / "model_index.json", _class_name=pipeline, **parts)
    refused(folder, said)


def test_a_folder_beside_the_unet_tells_latents_without_an_index(folder):
    (folder / "model_index.json").unlink()
    (folder / "vqvae").mkdir()
    refused(folder, "denoises latents")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("unet", {"_class_name": "UNet2DConditionModel"}, "describes a UNet2DConditionModel"),
        ("scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "is flow matching"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
        ("unet", {"block_out_channels": [8, 32]}, "cannot be read .*mismatch"),
        ("unet", {"down_block_types": ["NoBlock"] * 2}, "cannot be read"),
        ("unet", {"layers_per_block": 2}, "cannot be read .*size mismatch"),
        ("unet", {"num_class_embeds": 2**31}, r"num_class_embeds is 2\.14748e\+09; at most"),
        ("unet", {"block_out_channels": [8, 60_000]}, "describes .* weights, and the files hold"),
        (
            "scheduler",
            {"beta_start": None, "beta_schedule": "squaredcos_cap_v2"},
            "scheduler_config.json cannot be read",
        ),
        ("unet", {"time_embedding_type": "learned", "num_train_timesteps": 50}, "lack 1 of the U-Net's tensors"),
        ("unet", {"class_embed_type": "timestep"}, "lack 4 of the U-Net's tensors"),
    ],
)
def test_what_a_file_says_is_refused_by_name(folder, file, changes, said):
    edit(folder / {"unet": "unet/config.json", "scheduler": "scheduler/scheduler_config.json"}[file], **changes)
    refused(folder, said)


@pytest.fixture
def checkpoint(folder):
    """What diffusers' train_unconditional.py leaves every few hundred steps; its average has other weights."""
    place = folder.parent / "training" / "checkpoint-500"
    for name in ("unet", "unet_ema"):
        shutil.copytree(folder / "unet", place / name)
    edit(place / "unet_ema/config.json", decay=0.9999, optimization_step=500, power=0.75)
    averaged = place / "unet_ema" / WEIGHTS.removeprefix("unet/")
    save_file({name: tensor / 2 for name, tensor in load_file(averaged).items()}, averaged, {"format": "pt"})
    return place


def test_a_checkpoint_without_a_scheduler_says_what_to_write(checkpoint, capsys):
    refused(
        checkpoint, r"the U-Net is there \(.*unet_ema\), but not the scheduler's file.* write .*checkpoint-500/sched"
    )
    with pytest.raises(UserError) as raised:
        load_diffusion(checkpoint)
    text = str(raised.value)
    (checkpoint / "scheduler").mkdir()
    (checkpoint / "scheduler/scheduler_config.json").write_text(text[text.rindex("{") :])  # followed to the letter
    unet, settings = load_diffusion(checkpoint)
    assert settings["num_train_timesteps"] == 1000
    assert "unet_ema is drawn with, the averaged weights" in capsys.readouterr().err
    averaged = load_file(checkpoint / "unet_ema" / WEIGHTS.removeprefix("unet/"))
    assert torch.equal(unet.state_dict()["conv_in.weight"], averaged["conv_in.weight"])


@pytest.mark.parametrize("given", ["", "unet", "unet_ema"])
def test_a_checkpoint_within_its_training_has_that_ones_schedule(checkpoint, folder, capsys, given):
    shutil.copytree(folder / "scheduler", checkpoint.parent / "scheduler")
    assert load_diffusion(checkpoint / given)[1]["num_train_timesteps"] == 100
    assert "its noise schedule is that of" in capsys.readouterr().err


def test_a_table_of_fewer_time_steps_than_the_schedule_is_refused(folder):
    config = UNet2DModel.load_config(folder / "unet")
    UNet2DModel.from_config(config, time_embedding_type="learned", num_train_timesteps=50).save_pretrained(
        folder / "unet"
    )
    refused(folder, "has learned 50 time steps, its scheduler has 100")


def test_weights_in_sixteen_bit_and_in_several_files_are_read(folder, unet, capsys):
    config, plain = UNet2DModel.load_config(folder / "unet"), folder / WEIGHTS
    for variant in ("fp16", "bf16"):
        plain.unlink(missing_ok=True)
        low = UNet2DModel.from_config(config).to(torch.float16 if variant == "fp16" else torch.bfloat16)
        low.load_state_dict(unet.state_dict())
        low.save_pretrained(folder / "unet", variant=variant)
        found = load_diffusion(folder)[0]
        assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
        torch.testing.assert_close(found.state_dict(), unet.state_dict(), atol=2e-3, rtol=0.01)
        assert f"has the weights {variant} alone" in capsys.readouterr().err
        if variant == "fp16":
            shutil.copy(folder / f"unet/diffusion_pytorch_model.{variant}.safetensors", folder / "kept")
            (folder / f"unet/diffusion_pytorch_model.{variant}.safetensors").unlink()
    shutil.copy(folder / "kept", folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    refused(folder, "variants bf16, fp16; name one of them diffusion_pytorch_model.safetensors")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="10KB")
    assert len(list(folder.glob("unet/*.safetensors"))) > 1
    assert unet_hash(load_diffusion(folder)[0]) == unet_hash(unet)


def test_a_hub_id_is_read_from_the_cache_descriptions_first(folder, unet, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(name, revision, allow_patterns):
        asked.append((name if revision is None else f"{name} at {revision}", allow_patterns[2:]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert unet_hash(load_diffusion("somebody/ddpm")[0]) == unet_hash(unet)
    assert asked == [("somebody/ddpm", []), ("somebody/ddpm", ["unet/*.safetensors", "condition/*.safetensors"])]
    edit(folder / "model_index.json", vqvae=["diffusers", "VQModel"])
    refused("somebody/ldm", "denoises latents")
    assert len(asked) == 3  # its weights were not asked for
    refused("somebody/ldm@v1", "denoises latents")
    assert asked[-1] == ("somebody/ldm at v1", [])
