"""timm and torchvision come without torch's compiler, which still works for whoever wants it."""

from __future__ import annotations

import subprocess
import sys

PRELUDE = """
import gc, sys
from automl_transfer.importing import import_timm, import_torchvision, uncollected
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_libraries_are_whole_and_the_compiler_stays_out() -> None:
    program = """
torchvision, timm = import_torchvision(), import_timm()
assert torchvision is sys.modules["torchvision"] and timm is sys.modules["timm"] is import_timm()
import torch
for network in (timm.create_model("resnet18"), torchvision.models.resnet18()):
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
print([name for name in sys.modules if name.startswith("torch._dynamo")], gc.isenabled())
"""
    assert run(program) == "[] True"


def test_the_compiler_works_afterwards() -> None:
    program = """
import_timm()
import torch, torchvision
boxes = torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])], (2, 2))
compiled = torch.compile(lambda x: 2 * x + 1, backend="eager")
print(boxes.mean().item(), compiled(torch.ones(2)).tolist(), hasattr(torch._dynamo, "optimize"))
"""
    assert run(program) == "1.0 [3.0, 3.0] True"


def test_a_compiler_that_is_there_stays() -> None:
    program = """
import torch._dynamo
before = torch._dynamo
import_timm()
print(sys.modules["torch._dynamo"] is before)
"""
    assert run(program) == "True"


def test_whoever_needs_the_compiler_meanwhile_gets_the_real_one() -> None:
    program = """
from automl_transfer import importing
sys.modules["torch._dynamo"] = placeholder = importing._Placeholder("torch._dynamo")
print(callable(placeholder.optimize), sys.modules["torch._dynamo"] is not placeholder)
"""
    assert run(program) == "True True"


def test_collection_is_as_it_was_afterwards() -> None:
    program = """
with uncollected():
    print(gc.isenabled())
print(gc.isenabled())
gc.disable()
with uncollected():
    pass
print(gc.isenabled())
"""
    assert run(program).split() == ["False", "True", "False"]
