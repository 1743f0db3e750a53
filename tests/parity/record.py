"""Record the project's own small set of numbers: ``python tests/parity/record.py [OFFICIAL_KEYS]``.

Only to be run when the model's numbers are meant to change, and after the published numbers hold
(``pytest tests/parity``): what is recorded here comes from this project's own code. OFFICIAL_KEYS is a
list of the official checkpoint's names and shapes, kept in a short form; without it the list stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unimedvl.checkpoint import load_model, save_model
from unimedvl.imaging.resize import fit
from unimedvl.model.config import DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig
from unimedvl.model.flow import Guidance, guided, time_grid
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, Seen, Segment, Text, grid_position_ids, pack, patchify

FOLDER = Path(__file__).parent / "golden"
CONFIG = ModelConfig(
    decoder=DecoderConfig(96, 32, 48, 2, 4, 2, rope_theta=1e4, max_position_embeddings=256),
    vit=VitConfig(24, 32, 3, 2, patch_size=4, max_patches_per_side=6),
    vae=VaeConfig(16, (1, 2), 1, z_channels=4, norm_groups=8),
    special=SpecialTokens(92, 93, 94, 95),
    max_latent_size=6,
    timestep_shift=1.5,
)
GUIDANCES = [
    (8, 3.0, Guidance(4.0, 1.0, (0.4, 1.0), "global")),
    (6, 3.0, Guidance(4.0, 2.0, (0.0, 1.0), "text_channel")),
    (6, 1.0, Guidance(3.0, 1.5, (0.0, 0.8), "channel", 0.3)),
    (5, 2.0, Guidance(1.0, 2.0, (0.0, 1.0), "global")),
]
RANDOM = torch.Generator().manual_seed(0)


def random_weights() -> UnifiedModel:
    """Every weight random and large enough to matter: nothing can be left out unnoticed."""
    model = UnifiedModel(CONFIG)
    model.initialise()  # for the position tables; all else is drawn below
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith("pos_embed"):
                fan_in = p[0].numel() if p.dim() > 1 else 25
                noise = torch.randn(p.shape, generator=RANDOM) / fan_in**0.5
                p.copy_(1 + noise if "norm" in name and name.endswith("weight") else noise)
    return model.eval()


def image(height: int, width: int) -> Tensor:
    """[3, height, width] in [-1, 1]: a slope and noise."""
    slope = torch.linspace(-0.6, 0.6, width).expand(3, height, width)
    return (slope + 0.3 * torch.randn(3, height, width, generator=RANDOM)).clamp(-1, 1)


def ids(count: int) -> list[int]:
    return torch.randint(0, 92, (count,), generator=RANDOM).tolist()


def autoencoder(model: UnifiedModel) -> dict[str, Tensor]:
    pixels = image(16, 12)[None]
    latent = model.vae.encode(pixels)
    return {
        "image": pixels,
        "moments": model.vae.moments(pixels),
        "latent": latent,
        "decoded": model.vae.decode(latent),
    }


def vit(model: UnifiedModel) -> dict[str, Tensor]:
    images, size = [image(16, 20), image(8, 12)], CONFIG.vit.patch_size
    patches = torch.cat([patchify(i, size) for i in images])
    sides = [(i.shape[1] // size, i.shape[2] // size) for i in images]
    positions = torch.cat([grid_position_ids(*s, CONFIG.vit.max_patches_per_side) for s in sides])
    lengths = [h * w for h, w in sides]
    return {f"image_{i}": x for i, x in enumerate(images)} | {
        "position_ids": positions,
        "lengths": torch.tensor(lengths, dtype=torch.int32),
        "hidden": model.vit_model(patches, positions, lengths),
        "embedded": model.embed_seen(patches, positions, lengths),
    }


class Topic:
    """The tensors of a topic's file and its entries in cases.json, as they come."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.cases: list[dict] = []

    def text(self, count: int, **more) -> tuple[dict, Segment]:
        spec = {"type": "text", "ids": ids(count), **more}
        return spec, Text(spec["ids"], more.get("loss", False))

    def picture(self, kind: str, name: str, height: int, width: int, **more) -> tuple[dict, Segment]:
        self.tensors[name] = pixels = image(height, width)
        spec = {"type": kind, "image": name, **more}
        if kind == "vit":
            return spec, Seen(pixels)
        return spec, Latent(pixels, more.get("loss", False), timestep_logit=more.get("timestep_logit"))


def understanding(model: UnifiedModel) -> Topic:
    topic = Topic()
    contexts = [
        [topic.picture("vit", "und0_0", 12, 16), topic.text(9)],
        [
            topic.text(5),
            topic.picture("vit", "und1_1", 8, 8),
            topic.picture("vit", "und1_2", 16, 12),
            topic.text(12),
        ],
        [topic.picture("vae", "und2_0", 8, 12), topic.picture("vit", "und2_1", 12, 12), topic.text(7)],
    ]
    for i, context in enumerate(contexts):
        cache = model.new_cache()
        for _, segment in context:
            model.extend([cache], [[segment]])
        topic.cases.append(
            {"context": [spec for spec, _ in context], "kv_len": cache.length, "rope": cache.position}
        )
        topic.tensors[f"und{i}_kv_keys"] = cache.keys()
        logits, answer = None, [CONFIG.special.text_open]
        while len(answer) < 24 and answer[-1] != CONFIG.special.text_close:
            scores = model.logits([cache], torch.tensor(answer[-1:]))[0]
            logits = scores if logits is None else logits
            best = scores.topk(2).values
            if best[0] - best[1] < 1e-3:
                raise SystemExit("a greedy answer hangs on the last bits; choose another seed")
            answer.append(scores.argmax().item())
        topic.tensors |= {f"und{i}_logits": logits, f"und{i}_output_ids": torch.tensor(answer)}
    return topic


def generation(model: UnifiedModel) -> Topic:
    topic = Topic()
    for i, (points, shift, guidance) in enumerate(GUIDANCES):
        full, without_text, alone = model.new_cache(), model.new_cache(), model.new_cache()
        context = []
        if i in (1, 2):
            (clean, latent), (_, seen) = (
                topic.picture("vae", f"gen{i}_0_vae", 12, 12),
                topic.picture("vit", f"gen{i}_0_vit", 12, 16),
            )
            context.append({"type": "image", "vae": clean["image"], "vit": f"gen{i}_0_vit"})
            for cache in (full, without_text):
                model.extend([cache], [[latent, seen]])
        spec, text = topic.text(4 + i)
        context.append(spec)
        model.extend([full, alone], [[text], [text]])
        height, width = 12, 16 - 4 * (i % 2)
        branches = [full]
        if guidance.text_scale != 1:
            branches += [without_text, alone][: 1 + guidance.uses_image]
        tensors = _drawn(model, branches, (height // 4, width // 4), points, shift, guidance)
        topic.tensors |= {f"gen{i}_{name}": tensor for name, tensor in tensors.items()}
        settings = dict(height=height, width=width, num_timesteps=points, timestep_shift=shift)
        settings |= dict(cfg_text_scale=guidance.text_scale, cfg_img_scale=guidance.image_scale)
        settings |= dict(cfg_interval=list(guidance.interval), cfg_renorm_type=guidance.renorm)
        topic.cases.append({"context": context, **settings, "cfg_renorm_min": guidance.renorm_min})
    return topic


def _drawn(model, branches, shape, points: int, shift: float, guidance: Guidance) -> dict[str, Tensor]:
    noise = torch.randn(shape[0] * shape[1], CONFIG.latent_token_dim, generator=RANDOM)
    plain, full = model.canvas([branches[:1]], [shape]), model.canvas([branches], [shape])
    x, times = noise, time_grid(points, shift)
    for t, following in zip(times, times[1:], strict=False):
        v = model.velocity(full if guidance.active(t) else plain, x, t)
        if guidance.active(t):
            v = v.view(len(branches), 1, *x.shape)
            v = guided(v[0], v[1], v[2] if len(branches) == 3 else None, guidance)[0]
        x = x - (t - following) * v
    pixels = (model.pixels(x, shape) * 0.5 + 0.5).clamp(0, 1) * 255
    return {"noise": noise, "latent": x, "pixels": pixels.to(torch.uint8).permute(1, 2, 0)}


def training(model: UnifiedModel) -> Topic:
    topic, noisy = Topic(), dict(loss=True, timestep_logit=0.25)
    picture, text = topic.picture, topic.text
    batches = [
        [
            [text(6), picture("vae", "train0_0_1", 12, 8, **noisy)],
            [picture("vit", "train0_1_0", 12, 12), text(5), text(7, loss=True)],
            [picture("vae", "train0_2_0", 8, 8), picture("vit", "train0_2_1", 8, 8), text(4),
             picture("vae", "train0_2_3", 8, 8, loss=True, timestep_logit=-0.5)],
            [text(5), text(6, loss=True), picture("vae", "train0_3_2", 8, 12, loss=True, timestep_logit=0.75)],
        ],
        [
            [picture("vit", "train1_0_0", 8, 16), text(3), picture("vae", "train1_0_2", 12, 12, **noisy),
             picture("vae", "train1_0_3", 12, 12), picture("vit", "train1_0_4", 12, 12), text(9, loss=True)],
        ],
    ]  # fmt: skip
    for i, samples in enumerate(batches):
        batch = pack([[segment for _, segment in sample] for sample in samples], CONFIG, RANDOM)
        model.zero_grad()
        losses = model(batch)
        losses.total().backward()
        norms = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
        modes = ["causal" if isinstance(s, Text) else "noise" if isinstance(s, Latent) and s.predict else "full"
                 for sample in samples for _, s in sample]  # fmt: skip
        topic.cases.append(
            {
                "samples": [[spec for spec, _ in sample] for sample in samples],
                "sample_lens": batch.lengths,
                "split_lens": [tokens for spans in batch.spans for tokens, _ in spans],
                "attn_modes": modes,
                "grad_norms": norms,
                "total_grad_norm": torch.tensor([*norms.values()]).norm().item(),
            }
        )
        recorded = {"labels": batch.labels, "latent_shapes": torch.tensor(batch.latent_shapes)}
        recorded |= {"position_ids": batch.positions[batch.order], "noise": batch.noise}
        recorded |= {"ce": losses.ce, "mse": losses.mse, "loss": losses.total()[None]}
        recorded |= {f"mask_{j}": mask for j, mask in enumerate(batch.masks())}
        topic.tensors |= {f"train{i}_{name}": tensor.detach() for name, tensor in recorded.items()}
    return topic


def resize() -> list[dict]:
    rules = {
        "vae": dict(max_size=1024, min_size=512, stride=16),
        "vit": dict(max_size=980, min_size=378, stride=14),
    }
    cases = []
    for name, rule in rules.items():
        rule["max_pixels"] = 14 * 14 * 9 * 1024
        for width, height in (
            (512, 512),
            (128, 128),
            (300, 900),
            (2048, 1024),
            (4000, 37),
            (723, 1301),
            (1, 1),
        ):
            out = fit(width, height, **rule)
            size = dict(width=width, height=height, out_width=out[0], out_height=out[1])
            cases.append({"transform": name, **rule, **size})
    return cases


def shortened(keys: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same names with runs of layer numbers as one: ``layers.{0..27}.``; see `Golden.official_keys`."""
    found: dict[tuple[str, str, tuple[int, ...]], list[int]] = defaultdict(list)
    short = {}
    for name, shape in keys.items():
        match = re.search(r"(?<=\.layers\.)\d+(?=\.)", name)
        if match is None:
            short[name] = shape
        else:
            found[name[: match.start()], name[match.end() :], tuple(shape)].append(int(match[0]))
    for (before, after, shape), numbers in found.items():
        if sorted(numbers) != list(range(min(numbers), max(numbers) + 1)):
            raise SystemExit(f"{before}*{after}: layers {numbers} have gaps")
        short[f"{before}{{{min(numbers)}..{max(numbers)}}}{after}"] = list(shape)
    return short


def main(official: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    save_model(random_weights(), FOLDER / "checkpoint")
    model = load_model(FOLDER / "checkpoint")
    with torch.no_grad():
        encoders = {"vae": autoencoder(model), "vit": vit(model)}
        topics = {"understanding": understanding(model), "generation": generation(model)}
    topics["training"] = training(model)
    tensors = encoders | {name: topic.tensors for name, topic in topics.items()}
    for name, content in tensors.items():
        save_file({n: t.contiguous() for n, t in content.items()}, FOLDER / f"{name}.safetensors")
    cases = {name: topic.cases for name, topic in topics.items()} | {"resize": resize()}
    (FOLDER / "cases.json").write_text(json.dumps(cases) + "\n")
    for file in official:
        keys = {name: shortened(shapes) for name, shapes in json.loads(Path(file).read_text()).items()}
        (FOLDER / "official_keys.json").write_text(json.dumps(keys, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:2])
