"""One offline HTML page from titled sections of text, pictures and an inline 3-D viewer; everything is escaped."""

import base64
import html
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.io.writing import write_whole

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid #ddd; padding-top: 1rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .85rem; line-height: 1.4; white-space: pre-wrap; }
img { max-width: 100%; height: auto; } canvas { border: 1px solid #ddd; touch-action: none; cursor: grab; max-width: 100%; }
nav a { margin-right: .9rem; } .quiet { color: #555; font-size: .9rem; } .key { margin-right: .8rem; white-space: nowrap; }
dl.verdict { background: #eef5fb; padding: .9rem 1.1rem; display: grid; grid-template-columns: auto 1fr; gap: .35rem 1.1rem; }
.verdict dt { color: #444; } .verdict dd { margin: 0; font-weight: 600; white-space: pre-line; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_VIEWER = """
for (const canvas of document.querySelectorAll('canvas[data-points]')) {
  const { points, colours, palette, axes } = JSON.parse(document.getElementById(canvas.dataset.points).textContent);
  const pen = canvas.getContext('2d'), size = canvas.width;
  let yaw = 0.6, pitch = 0.4, zoom = 1, held = null;
  const turned = ([x, y, z]) => {
    const a = x * Math.cos(yaw) + y * Math.sin(yaw), b = y * Math.cos(yaw) - x * Math.sin(yaw);
    return [a, z * Math.cos(pitch) - b * Math.sin(pitch), b * Math.cos(pitch) + z * Math.sin(pitch)];
  };
  const place = (p) => { const [a, b, c] = turned(p), s = zoom * size / 7; return [size / 2 + s * a, size / 2 - s * b, c]; };
  const draw = () => {
    pen.clearRect(0, 0, size, size);
    axes.forEach((name, i) => {
      const end = [0, 0, 0]; end[i] = 2.6;
      const [x, y] = place(end), [x0, y0] = place([0, 0, 0]);
      pen.strokeStyle = pen.fillStyle = '#777'; pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x, y); pen.stroke();
      pen.font = '14px sans-serif'; pen.fillText(name, x + 4, y);
    });
    points.map((p, i) => [...place(p), colours[i]]).sort((p, q) => q[2] - p[2]).forEach(([x, y, depth, colour]) => {
      pen.globalAlpha = Math.max(0.15, Math.min(0.9, 0.55 - 0.15 * depth));
      pen.fillStyle = palette[colour % palette.length]; pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    });
    pen.globalAlpha = 1;
  };
  canvas.addEventListener('pointerdown', (e) => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener('pointerup', () => { held = null; });
  canvas.addEventListener('pointermove', (e) => {
    if (!held) return;
    yaw += (e.clientX - held[0]) / 120; pitch += (e.clientY - held[1]) / 120; held = [e.clientX, e.clientY]; draw();
  });
  canvas.addEventListener('wheel', (e) => { e.preventDefault(); zoom *= Math.exp(-e.deltaY / 800); draw(); }, { passive: false });
  draw();
}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: heading, also its name in the navigation.
        text: plain text, shown as it is.
        answers: questions and answers in plain words, shown large, above the text.
        pictures: PNG files with what they show, for readers who do not see them.
        cloud: points (n, 3) with an integer colour each (n,), shown in a viewer that turns.
        axes: names of the cloud's axes.
        key: colours of pictures and cloud, and what each stands for.
    """

    title: str
    text: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    pictures: tuple[tuple[bytes, str], ...] = ()
    cloud: tuple[NDArray[np.floating], NDArray[np.integer]] | None = None
    axes: tuple[str, str, str] = ("s1", "s2", "s3")
    key: tuple[tuple[str, str], ...] = ()


def png(ax: Any) -> bytes:
    """The figure of an Axes as a PNG file."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def page(title: str, sections: list[Section]) -> str:
    """The page. It opens without a network, and a policy in it forbids one."""
    name = html.escape(title)
    links = "".join(f'<a href="#part{i}">{html.escape(s.title)}</a>' for i, s in enumerate(sections))
    body = "\n".join(_section(i, s) for i, s in enumerate(sections))
    script = f"<script>{_VIEWER}</script>" if any(s.cloud is not None for s in sections) else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<style>{_STYLE}</style></head>\n'
        f"<body>\n<h1>{name}</h1>\n<nav>{links}</nav>\n{body}\n{script}\n</body>\n</html>\n"
    )


def _section(i: int, section: Section) -> str:
    parts = [f'<h2 id="part{i}">{html.escape(section.title)}</h2>']
    if section.answers:
        rows = "".join(f"<dt>{html.escape(q)}</dt><dd>{html.escape(a)}</dd>" for q, a in section.answers)
        parts.append(f'<dl class="verdict">{rows}</dl>')
    if section.text:
        parts.append(f"<pre>{html.escape(section.text)}</pre>")
    for picture, shows in section.pictures:
        data = base64.b64encode(picture).decode("ascii")
        parts.append(f'<p><img alt="{html.escape(shows, quote=True)}" src="data:image/png;base64,{data}"></p>')
    if section.cloud is not None:
        parts.append(_cloud(i, section))
    if section.key:
        marks = (
            f'<span class="key"><span style="color:{c}">&#9632;</span> {html.escape(n)}</span>' for c, n in section.key
        )
        parts.append(f'<p class="quiet">{"".join(marks)}</p>')
    return "\n".join(parts)


def _cloud(i: int, section: Section) -> str:
    assert section.cloud is not None
    points, colours = section.cloud
    data = {
        "points": np.round(points, 3).tolist(),
        "colours": np.asarray(colours).tolist(),
        "palette": [colour for colour, _ in section.key],
        "axes": section.axes,
    }
    text = json.dumps(data).replace("<", "\\u003c")
    return (
        f'<p><canvas width="560" height="560" data-points="cloud{i}"></canvas></p>\n'
        f'<p class="quiet">{len(points)} rows, whitened units; drag to turn, wheel to zoom.</p>\n'
        f'<script type="application/json" id="cloud{i}">{text}</script>'
    )


def write_page(path: str | Path, title: str, parts: Callable[[], list[Section]], example: str) -> Path:
    """Write a page to ``path``, whole or not at all; ``parts`` are made only where the place is fit.

    Raises:
        IsADirectoryError: ``path`` is a folder; ``example`` is a name to offer.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file, for instance {path / example}")
    write_whole({path: page(title, parts()).encode()})
    return path
