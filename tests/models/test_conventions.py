"""Claims about a run that starts from weights: it keeps what they were trained with, and nothing else of theirs."""

from __future__ import annotations

from dataclasses import replace

from glipv2.checkpoints import released_model
from glipv2.config import model_preset
from glipv2.models import ModelConfig
from glipv2.models.conventions import starting_from
from glipv2.structures import BoxConvention


def test_imported_weights_bring_the_released_slips_into_the_run() -> None:
    model, said = starting_from(model_preset("glip_t"), released_model("glip_t"))
    assert (model.fusion.reread_offsets, model.regions.boxes) == (True, BoxConvention(True, True))
    assert said == ("fusion.reread_offsets=True", "regions.inclusive_boxes=True", "regions.last_pixels=True")


def test_pixels_are_shown_as_the_weights_saw_them_in_the_sizes_the_run_wants() -> None:
    usual = model_preset("glip_t")
    rgb = [1.0, 2.0, 3.0]
    run = replace(usual, pixels=replace(usual.pixels, bgr=False, mean=rgb, std=rgb, short_side=480))
    model, said = starting_from(run, released_model("glip_t"))
    assert model.pixels == replace(usual.pixels, short_side=480)
    assert said[3:] == (
        "pixels.mean=[103.53, 116.28, 123.675]",
        "pixels.std=[57.375, 57.12, 58.395]",
        "pixels.bgr=True",
    )


def test_own_weights_switch_the_slips_off_again() -> None:
    model, said = starting_from(released_model("glip_t"), model_preset("glip_t"))
    assert not model.fusion.reread_offsets
    assert model.regions.boxes == BoxConvention()
    assert len(said) == 3


def test_nothing_is_said_where_nothing_changes() -> None:
    nano = model_preset("nano")
    assert starting_from(nano, nano) == (nano, ())


def test_no_encoder_is_fetched_for_a_core_that_the_weights_fill() -> None:
    usual = model_preset("glip_t")
    run = replace(usual, image=replace(usual.image, weights="swin.pth"), text=replace(usual.text, weights="bert/"))
    model, _ = starting_from(run, released_model("glip_t"))
    assert (model.image.pretrained, model.image.weights) == (False, None)
    assert (model.text.pretrained, model.text.weights) == (False, None)
    assert model.image.options == usual.image.options
    assert model.text.options == {"vocab_size": 30522}


def test_the_runs_own_options_of_the_text_encoder_win() -> None:
    usual = model_preset("glip_t")
    run = replace(usual, text=replace(usual.text, options={"hidden_dropout_prob": 0.0}))
    model, _ = starting_from(run, released_model("glip_t"))
    assert model.text.options == {"vocab_size": 30522, "hidden_dropout_prob": 0.0}


def test_a_fetched_text_encoder_of_another_kind_gives_way_to_the_weights_own() -> None:
    weights = model_preset("nano")
    run = replace(model_preset("small"), text=model_preset("glip_t").text)
    model, _ = starting_from(run, weights)
    assert model.text == weights.text


def test_the_rest_of_the_run_stays_as_it_is() -> None:
    run: ModelConfig = model_preset("glip_t")
    run = replace(run, image=replace(run.image, drop_block=0.1), fusion=replace(run.fusion, dropout=0.3))
    model, _ = starting_from(run, released_model("glip_t"))
    assert (model.image.drop_block, model.fusion.dropout, model.name) == (0.1, 0.3, "glip_t")
    assert model.tokenizer == run.tokenizer
