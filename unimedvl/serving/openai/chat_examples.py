"""Examples of chat requests, as the OpenAPI document shows them."""

from __future__ import annotations

# A grey square of 8 x 8 pixels.
PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADklEQVR42mNogAIGyhgAgIQgARDoahcAAAAASUVORK"
    "5CYII="
)

EXAMPLES = {
    "text": {"messages": [{"role": "user", "content": "What does a pleural effusion look like?"}], "max_tokens": 32},
    "image": {
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Is there a pleural effusion?"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            },
        ],
        "max_tokens": 32,
        "logprobs": True,
        "top_logprobs": 2,
    },
    "json": {
        "messages": [{"role": "user", "content": "Which modality is a chest X-ray? Answer as JSON."}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "modality",
                "schema": {
                    "type": "object",
                    "properties": {"modality": {"enum": ["CT", "MR", "X-ray"]}},
                    "required": ["modality"],
                    "additionalProperties": False,
                },
            },
        },
    },
    "draw": {
        "messages": [{"role": "user", "content": "A chest X-ray with cardiomegaly."}],
        "modalities": ["image"],
        "size": "64x64",
        "num_inference_steps": 4,
        "seed": 7,
    },
}
