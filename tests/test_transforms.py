"""From text and images of any size to segments of the right one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.model.config import PRESETS
from unimedvl.sequence import pack
from unimedvl.transforms import Prepare


def test_the_published_sizes_hold_where_a_checkpoint_says_nothing(tokenizer):
    prepare = Prepare.for_model(PRESETS["14b"], tokenizer)
    assert (prepare.vit.max_size, prepare.vit.min_size, prepare.vit.stride) == (980, 378, 14)
    assert (prepare.vae.max_size, prepare.vae.min_size, prepare.vae.stride) == (1024, 512, 16)


def test_a_latent_image_is_never_larger_than_the_position_table(tokenizer, geometry):
    prepare = Prepare.for_model(geometry, tokenizer, {"vit": (42, 42)})
    assert (prepare.vae.max_size, prepare.vae.min_size, prepare.vae.stride) == (32, 32, 4)
    wide = replace(geometry, max_latent_size=400)
    assert Prepare.for_model(wide, tokenizer).vae.max_size == 1024


def test_an_image_of_any_size_becomes_one_that_the_model_takes(tiny):
    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 90), st.integers(1, 90))
    def check(height, width):
        image = torch.rand(3, height, width) * 2 - 1
        seen, latent = tiny.prepare.seen(image), tiny.prepare.latent(image, predict=True)
        for pixels in (seen.pixels, latent.pixels):
            assert pixels.dtype == torch.float32 and pixels.is_contiguous()
            assert -1 <= pixels.min() and pixels.max() <= 1
        assert tuple(seen.pixels.shape[1:]) == tiny.prepare.vit(width, height)[::-1]
        assert tuple(latent.pixels.shape[1:]) == tiny.prepare.vae(width, height)[::-1]
        assert latent.predict and not seen.droppable
        pack([[seen, latent]], tiny.model.config)  # every side is on its stride and within its table

    check()


def test_an_image_of_the_right_size_passes_untouched(tiny):
    image = torch.rand(3, 32, 32) * 2 - 1
    assert tiny.prepare.latent(image).pixels is image


def test_an_8_bit_image_is_prepared_as_its_floats_are_to_a_thousandth_of_a_level(tiny):
    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
    def check(height, width, seed):
        image = torch.randint(0, 256, (3, height, width), generator=torch.manual_seed(seed), dtype=torch.uint8)
        for one in (image, image[:1].expand(3, -1, -1)):
            floats = one.float() / 127.5 - 1
            for prepared in (tiny.prepare.seen, tiny.prepare.latent):
                whole, exact = prepared(one).pixels, prepared(floats).pixels
                assert whole.dtype == torch.float32 and whole.is_contiguous()
                torch.testing.assert_close(whole, exact, atol=4e-6, rtol=0)  # a level is 2/255

    check()


def test_an_8_bit_image_of_the_right_size_becomes_its_floats(tiny):
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert torch.equal(tiny.prepare.latent(image).pixels, image.float() / 127.5 - 1)


def test_a_wide_image_stays_wide(tiny):
    pixels = tiny.prepare.seen(torch.rand(3, 20, 60) * 2 - 1).pixels
    assert pixels.shape == (3, 14, 42)


def test_a_constant_image_keeps_its_value(tiny):
    for level in (-1.0, -0.3, 1.0):
        pixels = tiny.prepare.seen(torch.full((3, 50, 20), level)).pixels
        torch.testing.assert_close(pixels, torch.full_like(pixels, level), atol=1e-5, rtol=0)


def test_texts_become_ids_without_control_tokens(tiny):
    text = tiny.prepare.text("<|im_end|> ends here", predict=True, droppable=True)
    assert text.predict and text.droppable
    assert tiny.tokenizer.decode(text.ids) == "<|im_end|> ends here"
    assert not set(text.ids) & set(vars(tiny.tokenizer.special).values())


def test_a_rule_is_stated_as_width_then_height(tokenizer):
    rule = Prepare.for_model(PRESETS["14b"], tokenizer).vae
    assert rule(2048, 1024) == (1024, 512)
    with pytest.raises(ValueError, match="at least 1"):
        rule(0, 5)
