"""Draws words in many scripts, and prints as JSON the characters that did not become glyphs.

A character fails if one of these is true:

- No font that matplotlib tries has it.
- Its picture is the box for missing characters, or the picture of an earlier character.
- Its picture has no ink.

The JSON also has the warnings of matplotlib.
"""

import io
import json
import logging
import unicodedata
import warnings

import matplotlib
import matplotlib.font_manager as fm
import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

WORDS = {
    "Chinese": "中文标题繁體字",
    "Japanese": "日本語ひらがなカタカナ",
    "Korean": "한국어제목",
    "Arabic": "العربيةعنوان",
    "Devanagari": "हिन्दीशीर्षक",
    "emoji": "😀🚀📈✅🥲❤🎉",
    "Greek and Cyrillic": "ΩλПривет",
}
NO_CHARACTER = "\U000EFFFF"  # never assigned
PIL_FONTS = {"Chinese": "wqy-microhei.ttc", "Japanese": "wqy-microhei.ttc", "Korean": "wqy-microhei.ttc",
             "Arabic": "DejaVuSans.ttf", "Devanagari": "Lohit-Devanagari.ttf", "emoji": "Symbola_hint.ttf",
             "Greek and Cyrillic": "DejaVuSans.ttf"}


def shown(characters):
    """Returns the characters without repeats, and without marks that only change their neighbour."""
    return [c for c in dict.fromkeys(characters) if unicodedata.category(c)[0] != "M"]


def chain():
    """Returns the font files that matplotlib tries now, in order."""
    return fm.fontManager._find_fonts_by_props(fm.FontProperties())


def picture(text):
    figure = plt.figure(figsize=(1.2 + 0.3 * len(text), 0.8), dpi=100)
    figure.text(0.1, 0.3, text, fontsize=24)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).copy()
    plt.close(figure)
    return pixels.tobytes(), bool((pixels[..., :3] < 128).any())


def draw_everywhere(word):
    """Draws a typical plot with the word in all places that can have text."""
    figure, axes = plt.subplots()
    axes.bar([word], [1], label=word)
    axes.set_title(word, weight="bold")
    axes.set_ylabel(word, family="monospace")
    axes.set_xlabel(word, style="italic")
    axes.legend(title=word)
    for kind in ("png", "svg", "pdf"):
        figure.savefig(io.BytesIO(), format=kind)
    plt.close(figure)


def complaints(word):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("matplotlib").addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw_everywhere(word)
    logging.getLogger("matplotlib").removeHandler(handler)
    return [str(w.message) for w in caught] + log.getvalue().splitlines()


def failures(word):
    fonts = [FT2Font(path) for path in chain()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complaints returns these
        box = picture(NO_CHARACTER)[0]
        seen, failed = {box}, []
        for c in shown(word):
            image, ink = picture(c)
            if image in seen or not ink or not any(f.get_char_index(ord(c)) for f in fonts):
                failed.append(c)
            seen.add(image)
    return failed


def pil_failures(script, word):
    font = ImageFont.truetype(PIL_FONTS[script], 24)
    def mask(text):
        image = Image.new("L", (60, 60))
        ImageDraw.Draw(image).text((10, 10), text, font=font, fill=255)
        return image.tobytes()
    seen, failed = {mask(NO_CHARACTER), bytes(3600)}, []
    for c in shown(word):
        if mask(c) in seen:
            failed.append(c)
        seen.add(mask(c))
    return failed


def written_for_windows():
    plt.rcParams["font.sans-serif"] = ["SimHei"]
    plt.rcParams["axes.unicode_minus"] = False


def without_fallbacks():
    """Sets up the negative control: a font without these characters, and no fallback."""
    fm.FontManager._find_fonts_by_props = fm._find_chosen
    plt.rcParams["font.family"] = ["STIXGeneral"]


matplotlib.use("Agg")
result = {}
for name, setting in {"default": matplotlib.rcdefaults, "seaborn": seaborn.set_theme, "ggplot": lambda: plt.style.use("ggplot"),
                      "SimHei": written_for_windows, "control": without_fallbacks}.items():
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    setting()
    only = list(WORDS) if name in ("default", "control") else ["Chinese", "emoji"]
    result[name] = {script: {"failed": failures(WORDS[script]), "complaints": complaints(WORDS[script])} for script in only}
# PIL has no fallback font. The emoji newer than Unicode 9 are in another font.
result["PIL"] = {script: {"failed": pil_failures(script, word.replace("🥲", "")), "complaints": []} for script, word in WORDS.items()}
print(json.dumps(result))
