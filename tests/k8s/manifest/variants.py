"""Manifests of every kind of run: plain, with every setting, a sweep, and both."""

import pytest

from k8s.manifest.render import render
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import whole
from tests.k8s.job_settings import EVERYTHING, runs, settings, spec

T4 = place(Wish.of("t4"), [whole("gfd", "t4")])
VARIANTS = {
    "plain": render(settings(), spec()),
    "everything": render(settings(**EVERYTHING), spec()),
    "sweep": render(settings(parallel=2), spec(), runs(3)),
    "sweep with everything": render(settings(**EVERYTHING, parallel=8), spec(), runs(3)),
}
each_variant = pytest.mark.parametrize("found", VARIANTS.values(), ids=VARIANTS.keys())
