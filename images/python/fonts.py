"""Adapts matplotlib to the fonts of this image, once, while the image is built.

1. Styles and themes (seaborn's too) set the font to one Latin family, so that titles in other scripts
   become boxes. So matplotlib tries the fonts in FALLBACKS after the chosen font.
2. Code often asks for fonts of other systems. If one is missing, matplotlib prints a warning for
   every text. So the names in fontnames.py lead to similar fonts of this image.
3. matplotlib looks for its list of all fonts in the user's home, which is empty in a new sandbox.
   It uses the list of this script instead, which saves the search at the first import.
"""

import dataclasses
import os

import matplotlib.font_manager as fm

from fontnames import STAND_INS

FALLBACKS = ["DejaVu Sans", "WenQuanYi Micro Hei", "Lohit Devanagari", "Symbola", "Unifont Upper"]
FONT_LIST = "/usr/local/share/matplotlib/fontlist.json"

LOAD = "fontManager = _load_fontmanager()\n"
ADDED = f'''\
# Added when this image was made; see fonts.py of its recipe.
def _load_prebuilt():
    try:
        manager = json_load("{FONT_LIST}")
    except Exception:
        return _load_fontmanager()
    return manager if manager._version == FontManager.__version__ else _load_fontmanager()


@lru_cache
def _fallback_fonts():
    plain = FontProperties(family={FALLBACKS!r}, style="normal", variant="normal",
                           weight="normal", stretch="normal")
    return _find_chosen(fontManager, plain)


def _find_with_fallbacks(self, prop, fontext="ttf", *args, **kwargs):
    fonts = _find_chosen(self, prop, fontext, *args, **kwargs)
    if fontext != "ttf":
        return fonts
    return list(dict.fromkeys(fonts + _fallback_fonts()))


_find_chosen = FontManager._find_fonts_by_props
FontManager._find_fonts_by_props = _find_with_fallbacks
fontManager = _load_prebuilt()
'''

manager = fm.FontManager()
missing = {*FALLBACKS, *STAND_INS} - {font.name for font in manager.ttflist}
if missing:
    raise SystemExit(f"fonts missing in the image: {missing}")
for font in list(manager.ttflist):
    # matplotlib also warns of a missing weight. So fonts without a bold face are listed as bold too.
    single = font.name in ("WenQuanYi Micro Hei", "Symbola")
    for name in STAND_INS.get(font.name, []):
        for weight in [400, 700] if single else [font.weight]:
            manager.ttflist.append(dataclasses.replace(font, name=name, weight=weight))
os.makedirs(os.path.dirname(FONT_LIST), exist_ok=True)
fm.json_dump(manager, FONT_LIST)

with open(fm.__file__) as source:
    code = source.read()
if code.count(LOAD) != 1 or "lru_cache" not in code:
    raise SystemExit("this version of matplotlib loads its fonts in another way: adapt fonts.py")
with open(fm.__file__, "w") as source:
    source.write(code.replace(LOAD, ADDED))
