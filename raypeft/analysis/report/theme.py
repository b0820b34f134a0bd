"""Colours and type of figures: one light and one dark set. The page takes the one that its reader's system asks for.

The categories are distinguishable with the common kinds of colour blindness (after Okabe & Ito 2008, darkened for white
paper and lightened for a dark screen).
"""

from __future__ import annotations

from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
LIGHT = {"ink": "#1f2430", "faint": "#6b7280", "line": "#d9dce3", "paper": "#ffffff"}
DARK = {"ink": "#e6e8ee", "faint": "#9aa3b2", "line": "#343a47", "paper": "#151821"}
LIGHT_CATEGORIES = ["#0072b2", "#d55e00", "#00825c", "#b0549b", "#b98700", "#3f9cc9", "#6a4fb3", "#8a4b2a", "#5b6472",
                    "#c23b56"]  # fmt: skip
DARK_CATEGORIES = ["#56b4e9", "#ff9a52", "#2fc79a", "#e79cd3", "#f0c64b", "#9ad6f5", "#ae97f2", "#cf9470", "#aab2c0",
                   "#ff8098"]  # fmt: skip


def config(dark: bool = False, width: int = 460) -> dict[str, Any]:
    """Vega-Lite's `config`. `width` is that of a chart which names none, in pixels."""
    tones, categories = (DARK, DARK_CATEGORIES) if dark else (LIGHT, LIGHT_CATEGORIES)
    return {
        "background": None if dark else tones["paper"],
        "font": FONT,
        "view": {"stroke": None, "continuousWidth": width, "continuousHeight": 280},
        "axis": {
            "labelColor": tones["ink"], "titleColor": tones["ink"], "gridColor": tones["line"], "gridOpacity": 0.7,
            "domainColor": tones["line"], "tickColor": tones["line"], "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal", "labelLimit": 260,
        },
        "axisQuantitative": {"tickCount": 6},
        "legend": {
            "labelColor": tones["ink"], "titleColor": tones["faint"], "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal", "orient": "top", "columns": 5, "symbolStrokeWidth": 2, "symbolOpacity": 1,
        },
        "header": {"labelColor": tones["ink"], "titleColor": tones["ink"], "labelFontSize": 12},
        "title": {"color": tones["ink"]},
        "range": {"category": categories, "ramp": {"scheme": "viridis"}, "heatmap": {"scheme": "viridis"}},
        "rule": {"color": tones["faint"]},
        "text": {"color": tones["ink"], "fontSize": 11},
        "style": {"halo": {"stroke": tones["paper"], "strokeWidth": 4, "strokeJoin": "round"}},
        "line": {"strokeWidth": 2},
        "point": {"filled": True, "size": 70},
        "bar": {"color": categories[0]},
    }  # fmt: skip
