"""Settings: typed dataclasses that check their own ranges, and what all of them share."""

from clsp.settings.types import (
    Count as Count,
)
from clsp.settings.types import (
    Fraction as Fraction,
)
from clsp.settings.types import (
    Incidental as Incidental,
)
from clsp.settings.types import (
    NonNegative as NonNegative,
)
from clsp.settings.types import (
    Positive as Positive,
)
from clsp.settings.types import (
    settings as settings,
)
