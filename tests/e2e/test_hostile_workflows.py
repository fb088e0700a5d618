"""Workflows that no page would make, sent to a real host: a sentence for each, and the host goes on."""

from __future__ import annotations

import itertools

import pytest

from tools.comfyui import ComfyUIProcess, PromptFailedError

TIMEOUT_SECONDS = 60.0
HALF_A_PAIR = "\ud800"
SIGN_IN = "Unauthorized: Please login first to use this node."

GENERATE, UPLOAD, LOAD = "WeShopSeedreamGenerate", "WeShopUploadReference", "WeShopLoadResult"
_seeds = itertools.count(9_000)


def workflow(node_type: str = "", **odd: object) -> dict[str, dict[str, object]]:
    """The whole way, with odd inputs for the nodes of one type."""
    inputs: dict[str, dict[str, object]] = {
        "EmptyImage": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
        UPLOAD: {"image": ["EmptyImage", 0], "image_urls": "", "encoding": "auto"},
        GENERATE: {
            "prompt": "a stone bridge",
            "model": "Seedream 5.0 Lite",
            "image_size": "2K",
            "aspect_ratio": "3:4",
            "output_format": "jpeg",
            "batch_count": 1,
            "web_search": False,
            "seed": next(_seeds),
            "references": [UPLOAD, 0],
        },
        LOAD: {"run": [GENERATE, 0], "execution_id": "", "when_sizes_differ": "pad"},
        "SaveImage": {"images": [LOAD, 0], "filename_prefix": "hostile"},
    }
    inputs.setdefault(node_type, {}).update(odd)
    return {name: {"class_type": name, "inputs": values} for name, values in inputs.items() if name}


@pytest.mark.parametrize(
    ("node_type", "name", "value", "told"),
    [
        # One half of a surrogate pair in an error ended the host's worker, and no prompt was executed any more.
        (GENERATE, "output_format", HALF_A_PAIR, "does not offer the output format"),
        (GENERATE, "output_format", f"{SIGN_IN}\x1b[31m", "does not offer the output format"),
        (GENERATE, "model", {"__value__": ["EmptyImage", 0]}, "There is no model"),
        (GENERATE, "references", 5, "The input references takes what WeShop Upload Reference puts out"),
        (GENERATE, "references", {"__value__": ["EmptyImage", 0]}, "got something else (Tensor)"),
        (UPLOAD, "references", {"items": []}, "The input references takes what WeShop Upload Reference puts out"),
        (UPLOAD, "encoding", HALF_A_PAIR, "but one of: auto, png, jpeg"),
        (UPLOAD, "image", True, "Connect an IMAGE"),
        (UPLOAD, "image_urls", f"https://{SIGN_IN}", "cannot be used"),
        (UPLOAD, "image_urls", "no address\n" * 1_000_000, "takes more than 14 references, and these are 1000001"),
        (LOAD, "run", "a run", "The input run takes what WeShop Seedream Generate puts out"),
        (LOAD, "when_sizes_differ", "guess", "but one of: pad, resize, crop, error"),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_an_input_of_another_kind_is_refused_in_a_sentence(
    host: ComfyUIProcess, node_type: str, name: str, value: object, told: str
) -> None:
    with pytest.raises(PromptFailedError) as failed:
        host.client.run(workflow(node_type, **{name: value}), timeout_seconds=TIMEOUT_SECONDS)

    sentence = failed.value.exception_message
    assert told in sentence
    assert sentence.isprintable()
    assert SIGN_IN not in sentence
    assert failed.value.exception_type.endswith("Error")
    assert len(host.client.run(workflow(), timeout_seconds=TIMEOUT_SECONDS).saved_pictures()) == 1
