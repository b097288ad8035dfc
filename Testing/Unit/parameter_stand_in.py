"""Stands for ``slicer.parameterNodeWrapper``, which the slicer-core wheel lacks: real nodes, the same texts in them.

Like Slicer's: a field is read from and written to one parameter of the node, checked when it is written and not when
it is read; a parameter that is not there yet is written with its default when the node is wrapped.
"""

# ruff: noqa: D105 (a descriptor's two methods)

import typing
from types import ModuleType

import slicer


class Note:
    """An annotation with its arguments."""

    def __init__(self, *arguments):
        """Keep them."""
        self.arguments = arguments


class Choice(Note):
    """Accepted values."""

    def accepts(self, value):
        return value in self.arguments[0]


class Default(Note):
    """Default value."""

    def accepts(self, _value):
        return True


class WithinRange(Note):
    """Smallest and largest value."""

    def accepts(self, value):
        return self.arguments[0] <= value <= self.arguments[1]


class Field:
    """One parameter of the node below the wrapper."""

    def __init__(self, name, hint, default):
        """Know type, notes and default."""
        self.name, self.notes, self.default = name, getattr(hint, "__metadata__", ()), default
        self.kind = typing.get_args(hint)[0] if self.notes else hint

    @property
    def is_node(self):
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def __get__(self, wrapper, _owner=None):
        if wrapper is None:
            return self.default
        if self.is_node:
            return wrapper.parameterNode.GetNodeReference(self.name)
        text = wrapper.parameterNode.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def __set__(self, wrapper, value):
        if not isinstance(value, (self.kind, type(None)) if self.is_node else self.kind):
            msg = f"{self.name}: {value!r} is no {self.kind.__name__}"
            raise TypeError(msg)
        if not all(note.accepts(value) for note in self.notes):
            msg = f"{self.name}: {value!r} is not accepted"
            raise ValueError(msg)
        if self.is_node:
            wrapper.parameterNode.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        wrapper.parameterNode.SetParameter(self.name, "" if self.is_node else str(value))


def wrap(cls):
    """Resolve the annotations now, as Slicer does, and turn each into a field."""
    cls.hints = typing.get_type_hints(cls, include_extras=True)
    names = list(cls.hints)
    for name, hint in cls.hints.items():
        default = getattr(cls, name, None)
        for note in getattr(hint, "__metadata__", ()):
            default = note.arguments[0] if isinstance(note, Default) else default
        setattr(cls, name, Field(name, hint, default))

    def begin(self, node):
        self.parameterNode = node
        for name in names:
            if not node.HasParameter(name):
                setattr(self, name, getattr(cls, name))
            getattr(self, name)  # Slicer reads all values at once, into its cache

    cls.__init__ = begin
    return cls


def create_module():
    """The module ``slicer.parameterNodeWrapper``."""
    module = ModuleType("slicer.parameterNodeWrapper")
    module.__dict__.update(Choice=Choice, Default=Default, WithinRange=WithinRange, parameterNodeWrapper=wrap)
    return module
