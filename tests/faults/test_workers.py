"""A worker dies, breaks or hangs at every point of a rotation; the next one ends it as if nothing had been."""

import pytest

from tests.faults import rig as rigs
from tests.faults.rig import Rig

pytestmark = pytest.mark.django_db(transaction=True)
faults = pytest.mark.parametrize("fault", ["kill", "exception", "hang"])


@faults
def test_fi_w_07_half_a_line_is_never_applied(rig: Rig, fault: str) -> None:
    before = rig.seen()
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, "half_line", fault):
        assert rig.seen() == before
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
