"""The page's colours and letters: calm, of the system's own fonts, with enough contrast in light and dark."""

from __future__ import annotations

import gradio as gr

_LETTERS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
_NUMBERS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """No font is fetched from anywhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal, neutral_hue=gr.themes.colors.slate, radius_size=gr.themes.sizes.radius_md,
        font=list(_LETTERS), font_mono=list(_NUMBERS),
    ).set(
        body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950",
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700", block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_800", block_title_text_color_dark="*neutral_100",
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700", button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white", button_primary_text_color_dark="white",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        block_border_width="1px", input_border_width="1px", input_border_color="*neutral_300",
        input_border_color_dark="*neutral_600",
        input_background_fill="white", input_background_fill_dark="*neutral_900",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        checkbox_label_text_color_selected="white", checkbox_label_text_color_selected_dark="white",
    )  # fmt: skip
