"""The model's geometry out of a checkpoint's JSON files and tensor shapes, and back into JSON.

The weights have the last word: a number that the shapes give is what most tensors of that kind
hold, a tie going to the files. So one misshapen tensor is an error later on and a stale number in
a file is not. The files give what shapes cannot (ViT heads, epsilons, RoPE base, special tokens),
and the official values hold where no file speaks.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.model.config import PRESETS, DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig

log = logging.getLogger(__name__)

LLM_FILE, VIT_FILE, GEOMETRY_FILE = "llm_config.json", "vit_config.json", "geometry.json"
OFFICIAL = PRESETS["14b"]
TOKEN_FIELDS = {
    "text_open": "bos_token_id",
    "text_close": "eos_token_id",
    "image_start": "start_of_image",
    "image_end": "end_of_image",
}

LAYER = r"language_model\.model\.layers\.(\d+)\."
VIT = r"vit_model\.vision_model\."
VIT_LAYER = VIT + r"encoder\.layers\.(\d+)\."


@dataclass(frozen=True)
class Fields:
    """A JSON object that knows where it came from. at: file, and the field within it."""

    at: str
    values: dict

    def number(self, name: str, default: float | None = None, whole: bool = True):
        """A positive number, or `default` where the file doesn't say.

        Raises:
            CheckpointError: another kind of value, or none although there is no default.
        """
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise CheckpointError(f"{self.at}: field {name}: expected a positive number, found none")
            return default
        kinds = (int,) if whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
            kind = "whole number" if whole else "number"
            raise CheckpointError(f"{self.at}: field {name}: expected a positive {kind}, found {value!r}")
        return value

    def always(self, name: str, expected: str) -> None:
        """Check a field that has one published value and no other."""
        found = self.values.get(name, expected)
        if found != expected:
            raise CheckpointError(f"{self.at}: field {name}: expected {expected!r}, found {found!r}")

    def real(self, name: str, default: float) -> float:
        """Any number, or `default` where the file doesn't say."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{self.at}: field {name}: expected a number, found {value!r}")
        return float(value)

    def divide(self, whole_name: str, whole: int, part_name: str, part: int) -> int:
        """How often `part` goes into `whole`; an error where it doesn't."""
        if whole % part:
            raise CheckpointError(
                f"{self.at}: expected {whole_name} to be a multiple of {part_name} {part}, found {whole}"
            )
        return whole // part

    def compare(self, name: str, held: list[int]) -> None:
        """Say where the file states a number that the weights do not hold."""
        if self.values.get(name) not in (None, *held):
            stated = self.values[name]
            log.warning(
                "%s: field %s is %s, but the weights hold %s: they win", self.at, name, stated, held[0]
            )

    def part(self, name: str) -> Fields:
        """An object within, empty where there is none."""
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.at}: field {name}: expected an object, found {value!r}")
        return Fields(f"{self.at}: {name}", value)


class Shapes:
    """Tensor shapes by name, asked for the number that most of them hold."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def most(
        self,
        f: Fields,
        field: str,
        default: int,
        pattern: str,
        axis: int = 0,
        convert: Callable[[int], float] = float,
    ) -> int:
        """The commonest converted length along `axis` of the tensors called `pattern`.

        Lengths that convert to no whole number count for nothing: such a tensor is misshapen. Where
        no tensor tells, what `field` of the file says, or `default`.
        """
        stated = f.number(field, default)
        regex = re.compile(pattern)
        votes: Counter[int] = Counter()
        for name, shape in self.shapes.items():
            if regex.fullmatch(name) and len(shape) > axis:
                value = convert(shape[axis])
                if value >= 1 and value == int(value):
                    votes[int(value)] += 1
        held = max(votes, key=lambda n: (votes[n], n == stated), default=stated)
        f.compare(field, [held])
        return held

    def depth(self, pattern: str) -> int:
        """One more than the highest index that `pattern` catches, 0 where it catches none."""
        regex = re.compile(pattern)
        return max((int(m[1]) + 1 for m in map(regex.match, self.shapes) if m), default=0)


def model_config(shapes: dict[str, tuple[int, ...]], llm: dict, vit: dict, geometry: dict) -> ModelConfig:
    """The geometry of a checkpoint. shapes: of all tensors, by the model's names.

    Raises:
        CheckpointError: a field of a file has a wrong value, or the parts do not fit together.
    """
    s, f, o = Shapes(shapes), Fields(GEOMETRY_FILE, geometry), OFFICIAL
    f.always("connector_act", "gelu_pytorch_tanh")
    decoder = _decoder(s, Fields(LLM_FILE, llm))
    vae = _vae(s, f.part("ae"))

    def cells(values: int) -> float:
        return math.sqrt(values / vae.z_channels)

    return ModelConfig(
        decoder=decoder,
        vit=_vit(s, Fields(VIT_FILE, vit), f),
        vae=vae,
        special=_special(f.part("special_tokens"), decoder.vocab_size),
        latent_patch_size=s.most(
            f, "latent_patch_size", o.latent_patch_size, r"llm2vae\.(weight|bias)", convert=cells
        ),
        max_latent_size=s.most(
            f, "max_latent_size", o.max_latent_size, r"latent_pos_embed\.pos_embed", convert=math.sqrt
        ),
        timestep_shift=float(f.number("timestep_shift", o.timestep_shift, whole=False)),
    )


def _decoder(s: Shapes, f: Fields) -> DecoderConfig:
    o = OFFICIAL.decoder
    f.always("hidden_act", "silu")
    hidden = s.most(f, "hidden_size", o.hidden_size, LAYER + r"(input|post_attention)_layernorm\w*\.weight")
    heads = f.number("num_attention_heads", o.num_heads)
    head_dim = s.most(f, "head_dim", max(1, hidden // heads), LAYER + r"self_attn\.[qk]_norm\w*\.weight")
    held_heads = f.divide("hidden_size", hidden, "the length of q_norm", head_dim)
    f.compare("num_attention_heads", [held_heads])
    kv_heads = s.most(
        f,
        "num_key_value_heads",
        o.num_kv_heads,
        LAYER + r"self_attn\.[kv]_proj\w*\.bias",
        convert=lambda n: n / head_dim,
    )
    f.divide("num_attention_heads", held_heads, "num_key_value_heads", kv_heads)
    layers = s.depth(LAYER) or f.number("num_hidden_layers", o.num_layers)
    f.compare("num_hidden_layers", [layers])
    return DecoderConfig(
        vocab_size=s.most(
            f, "vocab_size", o.vocab_size, r"language_model\.(model\.embed_tokens|lm_head)\.weight"
        ),
        hidden_size=hidden,
        intermediate_size=s.most(
            f, "intermediate_size", o.intermediate_size, LAYER + r"mlp\w*\.(gate|up)_proj\.weight"
        ),
        num_layers=layers,
        num_heads=held_heads,
        num_kv_heads=kv_heads,
        rope_theta=float(f.number("rope_theta", o.rope_theta, whole=False)),
        rms_norm_eps=float(f.number("rms_norm_eps", o.rms_norm_eps, whole=False)),
        max_position_embeddings=f.number("max_position_embeddings", o.max_position_embeddings),
    )


def _vit(s: Shapes, f: Fields, geometry: Fields) -> VitConfig:
    o = OFFICIAL.vit
    f.always("hidden_act", "gelu_pytorch_tanh")
    hidden = s.most(f, "hidden_size", o.hidden_size, VIT_LAYER + r"layer_norm\d\.weight")
    heads = f.number("num_attention_heads", o.num_heads)  # no shape tells
    f.divide("hidden_size", hidden, "num_attention_heads", heads)
    # Published files count the last layer, which is not kept, or do not: both are right.
    layers = s.depth(VIT_LAYER) or f.number("num_hidden_layers", o.num_layers + 1) - 1
    f.compare("num_hidden_layers", [layers, layers + 1])
    table = VIT + r"embeddings\.position_embedding\.weight|vit_pos_embed\.pos_embed"
    patch = VIT + r"embeddings\.patch_embedding\.weight"
    return VitConfig(
        hidden_size=hidden,
        intermediate_size=s.most(
            f, "intermediate_size", o.intermediate_size, VIT_LAYER + r"mlp\.fc1\.(weight|bias)"
        ),
        num_heads=heads,
        num_layers=layers,
        patch_size=s.most(f, "patch_size", o.patch_size, patch, 1, lambda n: math.sqrt(n / 3)),
        max_patches_per_side=s.most(
            geometry, "vit_max_num_patch_per_side", o.max_patches_per_side, table, convert=math.sqrt
        ),
        layer_norm_eps=float(f.number("layer_norm_eps", o.layer_norm_eps, whole=False)),
    )


def _vae(s: Shapes, f: Fields) -> VaeConfig:
    o = OFFICIAL.vae
    entrance = r"vae\.encoder\.(conv_in|down\.0\.block\.0\.norm1)\.(weight|bias)"
    width = s.most(f, "ch", o.width, entrance)
    blocks = s.depth(r"vae\.encoder\.down\.\d+\.block\.(\d+)\.") or f.number(
        "num_res_blocks", o.num_res_blocks
    )
    f.compare("num_res_blocks", [blocks])
    groups = f.number("norm_groups", o.norm_groups)
    multipliers = _multipliers(s, f, width)
    for multiplier in (1, *multipliers):
        f.divide("channels", width * multiplier, "norm_groups", groups)
    latent = r"vae\.encoder\.conv_out\.(weight|bias)"
    return VaeConfig(
        width=width,
        multipliers=multipliers,
        num_res_blocks=blocks,
        z_channels=s.most(f, "z_channels", o.z_channels, latent, convert=lambda n: n / 2),
        scale=float(f.number("scale_factor", o.scale, whole=False)),
        shift=f.real("shift_factor", o.shift),
        norm_groups=groups,
    )


def _multipliers(s: Shapes, f: Fields, width: int) -> tuple[int, ...]:
    """Channels of each level of the autoencoder, over those of the first convolution."""
    stated = f.values.get("ch_mult", list(OFFICIAL.vae.multipliers))
    if not isinstance(stated, list) or not stated or not all(isinstance(m, int) and m > 0 for m in stated):
        raise CheckpointError(
            f"{f.at}: field ch_mult: expected a list of positive whole numbers, found {stated!r}"
        )
    levels = s.depth(r"vae\.encoder\.down\.(\d+)\.") or len(stated)
    level = r"vae\.(encoder\.down|decoder\.up)\.{}\.block\.\d+\.conv[12]\.bias"
    steps = Fields(f.at, {f"ch_mult {i}": m for i, m in enumerate(stated) if "ch_mult" in f.values})
    return tuple(
        s.most(
            steps, f"ch_mult {i}", (stated + [1] * levels)[i], level.format(i), convert=lambda n: n / width
        )
        for i in range(levels)
    )


def _special(f: Fields, vocabulary: int) -> SpecialTokens:
    ids = {}
    for field, stored in TOKEN_FIELDS.items():
        value = f.values.get(stored, getattr(OFFICIAL.special, field))
        if not isinstance(value, int) or not 0 <= value < vocabulary:
            raise CheckpointError(
                f"{f.at}: field {stored}: expected a token id below {vocabulary}, found {value!r}"
            )
        ids[field] = value
    return SpecialTokens(**ids)


def llm_json(config: DecoderConfig, special: SpecialTokens, dtype: str) -> dict:
    """`llm_config.json` in the published field names."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "layer_module": "Qwen2MoTDecoderLayer",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "hidden_act": "silu",
        "qk_norm": True,
        "tie_word_embeddings": False,
        "bos_token_id": special.text_open,
        "eos_token_id": special.text_close,
        "torch_dtype": dtype,
    }


def vit_json(config: VitConfig) -> dict:
    """`vit_config.json` in the published field names; it counts one layer more than is kept."""
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers + 1,
        "num_attention_heads": config.num_heads,
        "num_channels": 3,
        "image_size": config.patch_size * config.max_patches_per_side,
        "patch_size": config.patch_size,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": config.layer_norm_eps,
    }


def geometry_json(config: ModelConfig) -> dict:
    """`geometry.json`: what a published checkpoint leaves to the code's defaults."""
    vae = config.vae
    return {
        "ae": {
            "in_channels": 3,
            "out_ch": 3,
            "downsample": vae.downsample,
            "ch": vae.width,
            "ch_mult": list(vae.multipliers),
            "num_res_blocks": vae.num_res_blocks,
            "z_channels": vae.z_channels,
            "norm_groups": vae.norm_groups,
            "scale_factor": vae.scale,
            "shift_factor": vae.shift,
        },
        "special_tokens": {stored: getattr(config.special, field) for field, stored in TOKEN_FIELDS.items()},
        "vit_max_num_patch_per_side": config.vit.max_patches_per_side,
        "connector_act": "gelu_pytorch_tanh",
        "latent_patch_size": config.latent_patch_size,
        "max_latent_size": config.max_latent_size,
        "timestep_shift": config.timestep_shift,
    }
