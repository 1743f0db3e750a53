"""The signed manifest inside a made picture, by the C2PA standard (c2pa.org, specification 2): written and read.

Nothing is fetched: no manifests from elsewhere, no lists of revoked certificates, and no timestamps unless an
authority is configured.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from unimedvl.imaging.image import Original
from unimedvl.imaging.metadata import TRAINED_MEDIA
from unimedvl.provenance.credentials import Credentials, find_credentials
from unimedvl.provenance.error import ProvenanceError

if TYPE_CHECKING:
    import c2pa

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
GENERATOR = "UniMedVL"
PROVENANCE, INPUTS = "org.unimedvl.provenance", "org.unimedvl.inputs"
_COMPOSITE = TRAINED_MEDIA.replace("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
# What a certificate without a trusted one behind it is reported as; it is told by the state already.
_UNTRUSTED = "signingCredential.untrusted"

State = Literal["none", "unchecked", "invalid", "valid", "trusted"]


@dataclass(frozen=True)
class Manifest:
    """What a file's manifest says, and whether it holds.

    state: "none"; "unchecked" (there may be one, and c2pa-python is missing); "invalid" (the file or the manifest was
        changed since it was signed, or the signature is wrong: see `problems`); "valid" (unchanged, signed by a
        certificate that nobody given here vouches for); "trusted".
    generator, signer: who claims and whose certificate signed, in their own words. actions: what was done, each with
    the
        kind of source that it states. provenance: ours, None where it has none. ancestors: generators of the
        manifests of pictures that it was made from.
    """

    state: State
    problems: tuple[str, ...] = ()
    generator: str = ""
    signer: str = ""
    actions: tuple[str, ...] = ()
    provenance: dict | None = field(default=None)
    ancestors: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it claims to be of this program."""
        return self.generator.split("/")[0].split(" ")[0] == GENERATOR


def available() -> bool:
    """Whether manifests can be written and checked here."""
    return find_spec("c2pa") is not None and find_spec("cryptography") is not None


def check_signer() -> None:
    """Tell now, before long work, whether a picture could be signed: a tiny one is, without a timestamp.

    Raises:
        ProvenanceError: as `signed`.
    """
    if available():
        signed(_TINY, "png", {}, signer=replace(find_credentials(), timestamps=None))


# A PNG of one black pixel.
_TINY = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148"
    "afa4710000000049454e44ae426082"
)


def signed(
    data: bytes, kind: str, provenance: dict, originals: Sequence[Original] = (), signer: Credentials | None = None
) -> bytes:
    """A picture's file with a manifest inside; its pixels and metadata stay as they are.

    Args:
        data: a PNG, JPEG or WebP without a manifest. kind: "png", "jpeg" or "webp".
        originals: the files that the picture was made from. The first of a kind that C2PA knows becomes its parent,
        and its
            own manifest, where it has one, goes along; others are named by hash. Names of files are not told.
        signer: `find_credentials()` where None.

    Raises:
        ProvenanceError: the certificate is not one that C2PA accepts, or the timestamp authority didn't answer.
    """
    import c2pa

    signer = find_credentials() if signer is None else signer
    context = c2pa.Context.from_dict(_SETTINGS)
    info = c2pa.C2paSignerInfo(signer.algorithm.encode(), signer.certificates, signer.key, _url(signer))
    out = io.BytesIO()
    try:
        builder = _builder(context, kind, provenance, originals)
        builder.sign(c2pa.Signer.from_info(info), TYPES[kind], io.BytesIO(data), out)
    except c2pa.C2paError as error:
        raise ProvenanceError(f"the manifest could not be signed: {_one_line(error)}") from error
    return out.getvalue()


def _url(signer: Credentials) -> bytes | None:
    return None if signer.timestamps is None else signer.timestamps.encode()


def _builder(context: c2pa.Context, kind: str, provenance: dict, originals: Sequence[Original]) -> c2pa.Builder:
    """The claim. Where an original can't be read as a parent, it is named by hash instead."""
    import c2pa

    readable = [(o, data) for o in originals if o.kind in TYPES and (data := o.read()) is not None]
    for parents in (readable, []):
        builder = c2pa.Builder(_claim(kind, provenance, originals, parents), context)
        try:
            for number, (original, data) in enumerate(parents):
                told = {"title": f"input {number + 1}", "relationship": "inputTo" if number else "parentOf"}
                told |= {"instance_id": f"input-{number}", "label": f"input-{number}"}
                builder.add_ingredient(told, TYPES[original.kind], io.BytesIO(data))
            return builder
        except c2pa.C2paError:
            if not parents:
                raise
    raise AssertionError("unreachable")


def _claim(kind: str, provenance: dict, originals: Sequence[Original], parents: Sequence) -> dict:
    agent = {"name": GENERATOR, "version": _version()}
    made = {"softwareAgent": agent, "digitalSourceType": _COMPOSITE if originals else TRAINED_MEDIA}
    if parents:
        actions = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": ["input-0"]}},
            {"action": "c2pa.edited", **made},
        ]
        if len(parents) > 1:
            actions[1]["parameters"] = {"ingredientIds": [f"input-{n}" for n in range(1, len(parents))]}
    else:
        actions = [{"action": "c2pa.created", **made}]
    assertions: list[dict] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    # As a tree for C2PA's own tools, and word for word, since those take lists of numbers for bytes.
    exact = json.dumps(provenance, sort_keys=True, allow_nan=False)
    assertions.append({"label": PROVENANCE, "data": {"provenance": json.loads(exact), "json": exact}})
    by_hash = [{"kind": o.kind, "sha256": o.sha256} for o in originals if o not in [p for p, _ in parents]]
    if by_hash:
        assertions.append({"label": INPUTS, "data": {"inputs": by_hash}})
    claim = {"claim_generator_info": [agent], "title": "Synthetic image", "format": TYPES[kind]}
    return claim | {"assertions": assertions}


def read_manifest(data: bytes, kind: str, trust: bytes | None = None) -> Manifest:
    """What the manifest inside a file says and whether it holds.

    trust: PEM of the certificates that are trusted to sign, or to vouch for those that do. Raises nothing for what is
    wrong with the file.
    """
    if kind not in TYPES:
        return Manifest("none")
    if not available():
        return Manifest("unchecked" if b"c2pa" in data and b"jumb" in data else "none")
    import c2pa

    settings: dict[str, Any] = dict(_SETTINGS)
    if trust is not None:
        settings["trust"] = {"user_anchors": trust.decode("utf-8", "replace")}
    try:
        context = c2pa.Context.from_dict(settings)
        reader = c2pa.Reader.try_create(TYPES[kind], io.BytesIO(data), context=context)
        if reader is None:
            return Manifest("none")
        return _read(json.loads(reader.json()))
    except (c2pa.C2paError, ValueError) as error:
        return Manifest("invalid", (_one_line(error),))


def _read(store: dict) -> Manifest:
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    states: dict[str, State] = {"Trusted": "trusted", "Valid": "valid"}
    state = states.get(store.get("validation_state", ""), "invalid")
    problems = [p for p in store.get("validation_status", []) if p.get("code") != _UNTRUSTED]
    told = tuple(f"{p.get('code')}: {p.get('explanation', '')}".rstrip(": ") for p in problems)
    assertions = {a.get("label"): a.get("data", {}) for a in active.get("assertions", [])}
    actions = assertions.get("c2pa.actions.v2") or assertions.get("c2pa.actions") or {}
    signature = active.get("signature_info", {})
    names = [signature.get("common_name"), signature.get("issuer")]
    return Manifest(
        state,
        told if state == "invalid" else (),
        _generator(active),
        ", ".join(dict.fromkeys(n for n in names if n)),
        tuple(_action(a) for a in actions.get("actions", [])),
        _provenance(assertions.get(PROVENANCE)),
        tuple(_generator(m) for label, m in manifests.items() if label != store.get("active_manifest")),
    )


def _provenance(assertion: Any) -> dict | None:
    try:
        found = json.loads(assertion["json"])
    except (TypeError, KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _generator(manifest: dict) -> str:
    info = (manifest.get("claim_generator_info") or [{}])[0]
    named = " ".join(str(info[key]) for key in ("name", "version") if info.get(key))
    return named or str(manifest.get("claim_generator", ""))


def _action(action: dict) -> str:
    source = str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1]
    return f"{action.get('action', '')} ({source})" if source else str(action.get("action", ""))


def _version() -> str:
    try:
        return version("unimedvl")
    except PackageNotFoundError:
        return "0+unknown"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
