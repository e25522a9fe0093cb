"""The YAML files as a registry: each says what it is and what its keys may be, and the check holds users to it."""

from __future__ import annotations

import inspect
import operator
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlrun.config import typed
from dlrun.config.catalogue import (
    Constraint,
    choices,
    conf_dir,
    constraints,
    description,
    groups,
    takes_several,
    targets,
)
from dlrun.config.check import check
from dlrun.errors import ConfigError
from dlrun.matrix.rows import keywords
from dlrun.schedules.schedule import Schedule

MAIN = conf_dir() / "dlrun.yaml"
FILES = [MAIN, *(conf_dir() / group / f"{name}.yaml" for group in groups() for name in choices(group))]
COMMON = {group: set(OmegaConf.load(MAIN).get(group, {})) for group in groups()}  # keys that all choices share
COMMON["architecture"].add("activation")  # goes to the blocks
GIVEN = {"architecture": {"shape", "outputs", "blocks", "train_inputs", "random"}}  # arguments that come from elsewhere


def loaded(file):
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def nodes(value):
    """Every mapping that names a target."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for part in value.values():
            yield from nodes(part)


def in_conf(file):
    return str(file.relative_to(conf_dir()))


@pytest.mark.parametrize("file", FILES, ids=in_conf)
def test_a_file_says_what_it_is_and_what_its_keys_may_be(file):
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and description(file) == first[2:] and not first.startswith("# @")
    for path, constraint in constraints(file).items():
        value = loaded(file)
        for key in path:
            value = value[key]
        assert constraint is not None and constraint.meaning, f"{'.'.join(path)} has no comment `constraint; meaning`"
        if value != "???" and not str(value).startswith("${"):
            assert constraint.allows(value), f"{'.'.join(path)}={value} is not {constraint.text}"


@pytest.mark.parametrize("file", [file for file in FILES if targets(file)], ids=in_conf)
def test_a_target_takes_the_keys_of_its_file(file):
    group = file.parent.name
    found = list(nodes(loaded(file)))
    assert {node["_target_"] for node in found} == targets(file)
    for node in found:
        target = get_object(node["_target_"])
        options = inspect.signature(target).parameters
        methods = [method for _, method in inspect.getmembers(target, inspect.isfunction)]
        rows = set().union(*(keywords(method) for method in methods if method.__module__.startswith("dlrun.")))
        keys = node.keys() - {"_target_"}
        assert keys <= options.keys() | rows | COMMON[group], "a key that nothing takes"
        needed = {name for name, p in options.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
        assert needed <= keys | COMMON[group] | GIVEN.get(group, set()), "an argument that no key gives"
        if inspect.isclass(target):
            # what a schedule remembers reaches it as a row too
            made = issubclass(target, Schedule) and target(**{k: node[k] for k in keys & options.keys()}).init(1)
            assert rows <= keys | COMMON[group] | {"lr"} | set(made or ()), "a number per row that no key gives"


GRAMMAR = [
    ("null", [None], [0, False, "null", []]),
    ("bool", [True, False], [0, 1, "true", None]),
    ("text", ["", "a b"], [1, None, True, ["a"]]),
    ("path", ["data/x.csv"], [1, None]),
    ("duration", ["5min", "0.5min", "90s", "1.5h"], ["0min", "0.0h", "min", "-1s", "5 min", "5m", "1.h", 5, None]),
    ("any", [1, None, "x", [1], {"a": 1}], []),
    ("none or any", ["none", "any"], ["some", 1, True, None, ["any"]]),
    ("list of any", [[], [1, "a", None, [2]]], ["any", None, {"a": 1}]),
    ("full", ["full"], ["Full", "ful", None, True]),
    ("int", [0, -3, 10**400], [1.0, True, "1", None]),
    ("number", [0, -3.5, 1e300], [True, "1.0", None, [1.0], float("inf"), float("nan"), 10**400]),
    ("> 0", [1e-9, 1, 10**300], [0, -1, float("nan"), float("inf"), 10**400, True, "1", None, [1]]),
    ("< -1.5e-3", [-1, -0.0016], [-0.0015, 0]),
    ("int >= 1", [1, 7], [0, 1.0, 1.5, True, None]),
    ("<= 2", [2, -5.5], [2.1]),
    ("in [0, 1)", [0, 0.0, 0.999], [1, -1e-9, float("nan")]),
    ("in (0, 1]", [1, 1e-9], [0, 1.1]),
    ("int in [1, 3]", [1, 3], [0, 4, 2.0]),
    ("list of int >= 1", [[], [1, 2]], [[0], [1.0], [True], 1, None, ["1"]]),
    ("list of numbers", [[], [1, 2.5]], [["a"], [None], 2.5, [float("inf")]]),
    ("list of numbers in [0, 1)", [[0, 0.5]], [[1.0]]),
    ("list of text", [["a"]], [["a", 1], "a"]),
    ("null or path", [None, "x"], [3]),
    ("int >= 1 or full", [64, "full"], [0, "half", None]),
    (">= 0 or text", [0.1, "200steps"], [-1, None]),
    ("auto or bool", ["auto", True], ["true", 1]),
]
ALTERNATIVES = [each for each in GRAMMAR if each[0] != "any"]  # beside others it is a word


@pytest.mark.parametrize(("text", "allowed", "refused"), GRAMMAR, ids=[row[0] for row in GRAMMAR])
def test_grammar(text, allowed, refused):
    constraint = Constraint.parse(f"{text}; what it means; or does not")
    assert (constraint.text, constraint.meaning) == (text, "what it means; or does not")
    assert [value for value in allowed if not constraint.allows(value)] == []
    assert [value for value in refused if constraint.allows(value)] == []


@pytest.mark.parametrize(
    "text", ["int >=1", "> one", "in [0, 1", "in [0 1]", "learning rate", "list of int > ", "number 3", "int or > x"]
)
def test_what_is_not_grammar(text):
    with pytest.raises(ValueError):
        Constraint.parse(f"{text}; meaning")


floats = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)  # a training flushes them to zero
numbers = st.integers() | floats
values = numbers | st.booleans() | st.text(max_size=3) | st.none() | st.just(float("nan"))


@settings(deadline=None)
@given(low=floats, high=floats, left=st.sampled_from("[("), right=st.sampled_from("])"), data=st.data())
def test_ranges_are_those_of_python(low, high, left, right, data):
    x = data.draw(numbers | st.sampled_from([low, high]))
    above, below = operator.ge if left == "[" else operator.gt, operator.le if right == "]" else operator.lt
    text = f"in {left}{low!r}, {high!r}{right}"
    assert Constraint.parse(text).allows(x) == (above(x, low) and below(x, high))
    assert Constraint.parse(f"int {text}").allows(x) == (isinstance(x, int) and above(x, low) and below(x, high))


@settings(deadline=None)
@given(st.lists(values, max_size=4), st.sampled_from(ALTERNATIVES), st.sampled_from(ALTERNATIVES))
def test_alternatives_and_lists(items, one, other):
    first, second = Constraint.parse(one[0]), Constraint.parse(other[0])
    either = Constraint.parse(f"{one[0]} or {other[0]}")
    for value in [*items, items, *one[1], *one[2]]:
        assert either.allows(value) == (first.allows(value) or second.allows(value))
    integers = [isinstance(item, int) and not isinstance(item, bool) for item in items]
    assert Constraint.parse("list of int").allows(items) == all(integers)


def test_words():
    assert Constraint.parse("int >= 1 or full or null or text or list of int or auto").words == ["full", "auto"]


def test_comments_of_a_users_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "# Mine: as I like it\n"
        "_target_: some.thing\n"
        "a: 1 # int; plain\n"
        "b: 'x # y' # text; after quotes\n"
        "c: [1, 2] # list of int; after brackets\n"
        "d: # null; after nothing\n"
        "e: 3 # a remark\n"
        "f: 4\n"
        "g:\n  h: {i: 1} # any; after braces\n"
        "j:\n  - 64\n  - 64\n"
        "# what follows is a list too\n"
        "k:\n  - 1\n"
    )
    said = {".".join(path): constraint and constraint.text for path, constraint in constraints(file).items()}
    assert said == {
        "a": "int", "b": "text", "c": "list of int", "d": "null", "e": None,
        "f": None, "g.h": "any", "j": None, "k": None,
    }  # fmt: skip
    assert description(file) == "Mine: as I like it" and targets(file) == {"some.thing"}
    file.write_text("# Mine\na: 1 # at least one; or so\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: not a constraint: 'at least one'; write .* without a semicolon"):
        constraints(file)
    file.write_text("# Nothing in it\n")
    assert constraints(file) == {}


def test_lookups():
    assert set(groups()) >= {"dataset", "architecture", "optimizer"} and "hydra" not in groups()
    assert set(choices("normalization")) >= {"none", "batch", "layer", "instance", "group"}


def checked(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("dlrun", ["name=test", *overrides], return_hydra_config=True)
    typed.take(overrides)
    check(config, config.hydra)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["lr=3e-4", "batch_size=full", "seed=12345678901234567890"],
        ["architecture=cnn", "architecture.hidden=[]", "optimizer=sgd", "regularizer=[l2,dropout]"],
        ["optimizer=torch", "optimizer.args={betas: [0.9, 0.99], eps: 1e-6}"],
        ["initializer=uniform", "initializer.a=10", "schedule=step", "schedule.warmup=200steps"],
        ["+optimizer={_target_: mine.Rule, c: 1}", "allow_targets=[mine]"],
    ],
    ids=" ".join,
)
def test_right_configs(overrides):
    checked(*overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=-1", r"lr=-1: must be null or > 0 \(learning rate"),
        ("lr={a: 1}", r"lr.a=1: there is no such key; did you mean lr=1\?"),
        ("lr='0.1'", r"lr='0.1': in quotes it is a text; leave them out: lr=0.1"),
        ("lr={}", r"lr={}: must be null or > 0"),
        ("epochs=1.5", r"epochs=1.5: must be int >= 1"),
        ("seed=true", r"seed=true: must be int >= 0"),
        ("batch_size=ful", r"batch_size=ful: must be int >= 1 or full .*; did you mean full\?"),
        ("optimizer.beta1=1", r"optimizer.beta1=1: must be in \[0, 1\)"),
        ("optimizer.beta1=null", r"optimizer.beta1=null: must be in \[0, 1\)"),
        ("+optimizer.beta3=0.5", r"optimizer.beta3=0.5: there is no such key; did you mean optimizer.beta\d=0.5\?"),
        ("+lrr=0.1", r"lrr=0.1: there is no such key; did you mean lr=0.1\?"),
        ("+qqq=0.1", r"qqq=0.1: there is no such key; the keys here are seed, lr, epochs"),
        ("architecture.hidden=128", r"architecture.hidden=128: must be list of int >= 1"),
        ("architecture.hidden=[128,0]", r"architecture.hidden=\[128, 0\]: must be list of int >= 1"),
        ("architecture.activation=reluu", r"architecture.activation=reluu: .*; did you mean relu\?"),
        ("epochs=???", r"epochs has to be given: passes over the training set"),
        ("optimizer._target_=os.system", r"optimizer._target_=os.system: only dlrun's own .* 'allow_targets=\[os\]'"),
        ("optimizer._target_=dlrunner.Rule", r"only dlrun's own code is run"),
    ],
)
def test_wrong_configs(override, message):
    with pytest.raises(ConfigError, match=message):
        checked(override)


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        checked("lr=-1", "epochs=0", "optimizer.eps=0")
    assert [line.partition("=")[0] for line in str(error.value).splitlines()] == ["lr", "epochs", "optimizer.eps"]


def test_targets_are_allowed_by_the_command_alone(tmp_path):
    for group, text in {"optimizer": "_target_: mine.Rule\nlr: 1\n", "trust": "allow_targets: [mine]\n"}.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(f"# @package {'_global_' if group == 'trust' else group}\n{text}")
    search = f"hydra.searchpath=[file://{tmp_path}]"
    checked(search, "optimizer=mine", "allow_targets=[mine]")
    for overrides in ([], ["+trust=mine"]):
        with pytest.raises(ConfigError, match=r"optimizer._target_=mine.Rule: only dlrun's own code is run"):
            checked(search, "optimizer=mine", *overrides)


def test_a_users_file_for_a_class_of_dlrun(tmp_path):
    """What it does not say of a key, dlrun's own file does."""
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text(
        "# Slow\n_target_: dlrun.optimizers.adam.Adam\n"
        "lr: 1e-5 # slow\nbeta1: 0.9\nbeta2: 0.99 # in [0.9, 1); decay\neps: 1e-8\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path}]"
    checked(search, "optimizer=slow")
    with pytest.raises(ConfigError, match=r"optimizer.beta1=1: must be in \[0, 1\)"):
        checked(search, "optimizer=slow", "optimizer.beta1=1")
    with pytest.raises(ConfigError, match=r"optimizer.beta2=0.8: must be in \[0.9, 1\)"):
        checked(search, "optimizer=slow", "optimizer.beta2=0.8")


def test_checking_imports_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "sklearn", "matplotlib"}
    code = f"import dlrun.config.check, sys; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_which_groups_take_several_choices():
    """Those whose choices keep their keys apart, each under its own name."""
    assert [group for group in groups() if takes_several(group)] == ["diagnostics", "regularizer", "tracker"]
