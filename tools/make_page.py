#!/usr/bin/env python3
"""Make one page of web/ and the runtime's modules, for `bitlog2 export --web` to put a network into.

    make_page.py WEB MODULES OUTPUT

Whatever the page refers to becomes a part of it, so that it opens without a network or a server.
"""
import base64
import pathlib
import re
import sys


def inline(tag, page, text):
    if page.count(tag) != 1:
        sys.exit(f"make_page: the page has {page.count(tag)} times {tag}")
    return page.replace(tag, text)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    web, modules, output = map(pathlib.Path, sys.argv[1:])
    page = (web / "index.html").read_text()
    style = (web / "style.css").read_text()
    library = re.sub(r"^export ", "", (web / "bitlog2.mjs").read_text(), flags=re.MULTILINE)
    script = re.sub(r"^import .* from \"./bitlog2.mjs\";\n", "", (web / "page.mjs").read_text(),
                    flags=re.MULTILINE)
    data = "".join(
        f'<script type="text/plain" id="{name}">{base64.b64encode((modules / file).read_bytes()).decode()}</script>\n'
        for name, file in (("plain", "bitlog2.wasm"), ("simd128", "bitlog2_simd128.wasm"),
                           ("relaxed", "bitlog2_relaxed.wasm")))
    data += ('<script type="text/plain" id="network">@NETWORK@</script>\n'
             '<script type="application/json" id="names">@NAMES@</script>\n')
    page = inline('<link rel="stylesheet" href="style.css">', page, f"<style>\n{style}</style>")
    page = inline('<script type="module" src="page.mjs"></script>', page,
                  f'{data}<script type="module">\n{library}\n{script}</script>')
    output.write_text(page)


if __name__ == "__main__":
    main()
