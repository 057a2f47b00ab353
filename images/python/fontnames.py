"""Names of fonts of other systems, and the fonts of this image that replace them.

fonts.py adds the names to matplotlib. Some programs look for fonts themselves. vl-convert leaves a text out when its
font is missing, and Pillow looks for files. For these programs main() writes font files with the names. The fonts in
a collection share their glyphs, so another name adds only one kilobyte.
"""

import os

from fontTools.ttLib import TTCollection, TTFont

STAND_INS = {
    "WenQuanYi Micro Hei": [
        "SimHei", "SimSun", "NSimSun", "FangSong", "KaiTi", "Microsoft YaHei", "Microsoft YaHei UI",
        "Microsoft JhengHei", "DengXian", "PingFang SC", "PingFang TC", "PingFang HK", "Heiti SC", "Heiti TC",
        "STHeiti", "STSong", "STKaiti", "STFangsong", "Songti SC", "Hiragino Sans GB", "WenQuanYi Zen Hei",
        "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Serif CJK SC",
        "Noto Sans SC", "Noto Sans TC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC", "Source Han Sans CN",
        "Arial Unicode MS", "MS Gothic", "MS Mincho", "Yu Gothic", "Meiryo", "Hiragino Sans", "IPAexGothic",
        "IPAGothic", "TakaoGothic", "Malgun Gothic", "NanumGothic", "AppleGothic",
    ],
    "DejaVu Sans": [
        "Arial", "Helvetica", "Helvetica Neue", "Verdana", "Tahoma", "Calibri", "Segoe UI", "Roboto", "Open Sans",
        "Liberation Sans", "Noto Sans", "Lato", "Trebuchet MS", "Lucida Grande", "Geneva", "Ubuntu", "Inter",
        "Impact", "Comic Sans MS", "Comic Neue", "Humor Sans", "xkcd", "xkcd Script",
    ],
    "DejaVu Serif": ["Times New Roman", "Times", "Georgia", "Cambria", "Garamond", "Palatino", "Liberation Serif"],
    "DejaVu Sans Mono": ["Courier New", "Courier", "Consolas", "Menlo", "Monaco", "Liberation Mono"],
    "Symbola": ["Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji", "Noto Emoji"],
}
DEJAVU = "/usr/share/fonts/truetype/dejavu"
CJK = "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"
OWN = "/usr/local/share/fonts/names"
COLLECTIONS = {  # for each font of this image, the file to write, and the files of its faces
    "DejaVu Sans": (f"{OWN}/sans.ttc", [f"{DEJAVU}/DejaVuSans.ttf", f"{DEJAVU}/DejaVuSans-Bold.ttf"]),
    "DejaVu Serif": (f"{OWN}/serif.ttc", [f"{DEJAVU}/DejaVuSerif.ttf", f"{DEJAVU}/DejaVuSerif-Bold.ttf"]),
    "DejaVu Sans Mono": (f"{OWN}/mono.ttc", [f"{DEJAVU}/DejaVuSansMono.ttf", f"{DEJAVU}/DejaVuSansMono-Bold.ttf"]),
    "WenQuanYi Micro Hei": (CJK, [CJK]),
}
FILES = {  # for each font file, the names that code passes to PIL.ImageFont.truetype
    f"{DEJAVU}/DejaVuSans.ttf": ["arial.ttf", "Arial.ttf", "helvetica.ttf", "Helvetica.ttf", "verdana.ttf", "Verdana.ttf",
                                 "calibri.ttf", "tahoma.ttf", "LiberationSans-Regular.ttf", "Roboto-Regular.ttf"],
    f"{DEJAVU}/DejaVuSans-Bold.ttf": ["arialbd.ttf", "verdanab.ttf", "calibrib.ttf", "LiberationSans-Bold.ttf", "Roboto-Bold.ttf"],
    f"{DEJAVU}/DejaVuSerif.ttf": ["times.ttf", "Times New Roman.ttf", "georgia.ttf", "LiberationSerif-Regular.ttf"],
    f"{DEJAVU}/DejaVuSerif-Bold.ttf": ["timesbd.ttf"],
    f"{DEJAVU}/DejaVuSansMono.ttf": ["cour.ttf", "consola.ttf", "LiberationMono-Regular.ttf"],
    CJK: ["simhei.ttf", "SimHei.ttf", "simsun.ttc", "simsun.ttf", "msyh.ttc", "msyh.ttf", "NotoSansCJK-Regular.ttc"],
}
FAMILY, FULL, POSTSCRIPT, TYPOGRAPHIC = 1, 4, 6, 16  # ids of records in a font's table of names


def faces(path):
    if not path.endswith(".ttc"):
        return [TTFont(path, recalcBBoxes=False)]
    return list(TTCollection(path, recalcBBoxes=False).fonts)


def renamed(font, family):
    for record in list(font["name"].names):
        if record.nameID in (FAMILY, TYPOGRAPHIC, FULL):
            record.string = family
        elif record.nameID == POSTSCRIPT:
            record.string = family.replace(" ", "")
    return font


def main():
    os.makedirs(OWN, exist_ok=True)
    for font, (target, sources) in COLLECTIONS.items():
        collection = TTCollection()
        if target in sources:
            collection.fonts += faces(target)
        for name in STAND_INS[font]:
            collection.fonts += [renamed(faces(source)[0], name) for source in sources]
        collection.save(target + ".new")
        os.replace(target + ".new", target)
    for source, names in FILES.items():
        for name in names:
            os.symlink(source, f"{OWN}/{name}")


if __name__ == "__main__":
    main()
