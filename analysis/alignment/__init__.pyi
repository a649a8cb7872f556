from .aligner import Aligner as Aligner
from .matching import Match as Match
from .rigid import Rigid as Rigid
from .scores import foscttm as foscttm
from .scores import label_transfer as label_transfer
from .symmetry import Symmetry as Symmetry
