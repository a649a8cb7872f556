"""What a shape is called: one word for what one draw of a piece shows."""

from __future__ import annotations

from analysis.topology.reading import Reading
from analysis.topology.torus import EXACT

LITTLE, MUCH = 0.2, 0.3  # of the shorter loop: less in common is a point, more is an arm
BRIDGE = 0.1  # of the landmarks on no loop

SENTENCES = {
    "blob": "one lump without loops",
    "arc": "a curve with two ends",
    "tree": "a curve that branches, without loops",
    "circle": "one closed loop",
    "figure eight": "two loops that meet in one point",
    "theta curve": "two loops that share an arm: two points joined by three arms",
    "bouquet": "three or more loops that meet",
    "sheet": "a surface without holes",
    "sphere": "a closed surface round one void, without loops",
    "torus": "a closed surface with two independent loops round one void; their angles together cover it once",
    "Klein bottle": "a closed surface that closes up over Z/2 but not over Z/3",
    "sphere with Klein bottle": "a closed surface with the Betti numbers (1, 1, 2) of a sphere and a Klein bottle that meet in "
    "two circles; two spheres that meet in two points have the same",
    "knot": "one closed loop that is knotted",
    "link": "closed loops that wind round one another",
}


def kind_of(reading: Reading) -> tuple[str, str]:
    """A word of ``SENTENCES`` or "unknown", and what is left undecided or speaks against all words; empty if nothing does."""
    loops, voids = reading.betti[2]
    if reading.route == "support":
        return _support(reading)
    if reading.thickness.is_solid or reading.thickness.dimension == 1:
        if (loops, voids) == (0, 0) and reading.thickness.is_solid:
            return "blob", ""
        if (loops, voids) == (0, 1):
            return "sphere", ""
        return _curve(reading, loops) if not voids else _unnamed(reading)
    if reading.thickness.dimension == 2:
        return _surface(reading)
    if not loops:
        return "blob", _thin(reading)
    return _unnamed(reading)


def words_for(kind: str) -> str:
    """Such as "is an arc"."""
    if kind == "unknown":
        return "is not one of the shapes with a name"
    return f"is {'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _thin(reading: Reading) -> str:
    return f"thin in {reading.thickness.dims - reading.thickness.dimension} of {reading.thickness.dims} directions"


def _curve(reading: Reading, loops: int) -> tuple[str, str]:
    ends = reading.ends or 0
    if loops == 0 and ends >= 2:
        return ("arc", "") if ends == 2 else ("tree", f"{ends} loose ends")
    if ends or not 1 <= loops <= 2 or len(reading.coordinates) != loops:
        return "unknown", f"a curve with {loops} loops and {ends} loose ends"
    if loops == 1:
        return "circle", ""
    if reading.bridge > BRIDGE:
        return "unknown", f"two loops and a way between them that belongs to neither ({reading.bridge:.0%} of it)"
    assert reading.shared is not None  # there are two loops
    if reading.shared < LITTLE:
        return "figure eight", ""
    if reading.shared > MUCH:
        return "theta curve", ""
    return (
        "unknown",
        f"undecided between figure eight and theta curve: the loops share {reading.shared:.0%} of their way",
    )


def _support(reading: Reading) -> tuple[str, str]:
    """By Betti numbers, and by how loops meet: a support has no dimension of its own."""
    even, odd = reading.betti[2], reading.betti[3]
    if even == odd == (0, 0):
        return "unknown", "no loops and no voids: a lump, a curve with ends or a sheet"
    if even == odd and not even[1]:
        return _curve(reading, even[0]) if even[0] < 3 else ("bouquet", f"{even[0]} independent loops")
    if even == odd == (1, 2):
        return "sphere with Klein bottle", ""
    if even == (2, 1) or even == odd == (0, 1):
        return _surface(reading)
    return "unknown", f"Betti {(1, *even)} over Z/2, {(1, *odd)} over Z/3"


def _surface(reading: Reading) -> tuple[str, str]:
    even, odd = reading.betti[2], reading.betti[3]
    if even == odd == (0, 0):
        return "sheet", ""
    if even == odd == (0, 1):
        return "sphere", ""
    if even == (2, 1) and odd == (1, 0):
        if reading.thickness.dims > 3:
            return "Klein bottle", ""
        return "unknown", "Betti numbers of a Klein bottle, which no three-dimensional space can hold"
    if even == odd == (2, 1):
        if reading.cup is None:
            return "unknown", "undecided between torus and two loops on a sphere: not all there at one scale"
        if reading.cup > EXACT:
            return "torus", ""
        return (
            "unknown",
            "Betti numbers of a torus, but the two loops span no surface: two loops on a sphere have the same",
        )
    if even == odd == (1, 0):
        return "unknown", "a band: a surface with one loop (annulus or Möbius)"
    return _unnamed(reading)


def _unnamed(reading: Reading) -> tuple[str, str]:
    numbers = "; ".join(f"{loops} loops and {voids} voids over Z/{p}" for p, (loops, voids) in reading.betti.items())
    return "unknown", f"{reading.thickness.dimension} dimensions, {numbers}"
