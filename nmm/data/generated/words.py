"""What is said of the objects of the generated world: columns, colours, shapes and patterns."""

PLACES = ("first", "second", "third", "fourth")        # the columns
COLOURS = (                 # of a corner of the RGB cube, lit from above, then from below
    "black", "blue", "green", "cyan", "red", "magenta", "yellow", "white",
    "coal", "navy", "olive", "teal", "rust", "plum", "amber", "pearl",
)
SHAPES = (                  # light on dark, then dark on light
    "disc", "ring", "square", "frame", "cross", "saltire", "bar", "pole", "triangle", "wedge", "slash", "backslash",
    "hole", "moat", "window", "panel", "cut", "star", "slot", "shaft", "gable", "notch", "ramp", "chute",
)
PATTERNS = (
    "plain", "striped", "barred", "checked", "dotted", "ribbed", "waved", "spotted", "lined", "crossed", "netted",
    "veined", "banded", "flecked", "tiled", "woven", "carved", "fluted", "grained", "knitted", "laced", "mottled",
    "paved", "pleated",
    "quilted", "ringed", "scaled", "shaded", "speckled", "studded", "twilled", "cracked",
    "bare", "rayed", "railed", "chequered", "pitted", "corded", "rippled", "freckled", "ruled", "hatched", "meshed",
    "threaded", "belted", "dappled", "bricked", "plaited", "etched", "grooved", "burled", "crocheted", "frilled",
    "marbled", "cobbled", "folded",
    "padded", "looped", "plated", "clouded", "dusted", "riveted", "ribbonned", "crazed",
)
