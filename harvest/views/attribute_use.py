"""Which attributes a query reads, and whether it takes each as one value or as a list of them.

BigQuery's ``dicom_all`` has an attribute as a list where IDC's export met several values, which is
not always where the dictionary's VM says so. The queries tell: what they index, UNNEST or count
is a list, what they compare, cast or join is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from .uses import Use


def attribute_uses(query: exp.Expr, repeated: Mapping[str, bool]) -> dict[str, Use]:
    """Find the attributes that a query reads from the tables that are none of its own.

    Parameters
    ----------
    query
        As `harvest.bigquery.parse` reads it.
    repeated
        Of the query's outputs, whether each is a list.

    Returns
    -------
    dict of str and Use
        By keyword.
    """
    root = Use("")
    outputs = _Query(root, query).outputs
    for name, is_list in repeated.items():
        value = outputs.columns.get(name.lower(), _NOTHING)
        _take_as_list(value) if is_list else _take_as_value(value)
    return root.members


# --- what expressions stand for ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """What an expression may be, as far as attributes go."""

    uses: tuple[Use, ...] = ()
    """It is one of these attributes as a whole."""
    items: tuple[Use, ...] = ()
    """It is one item, or one value, of these."""
    fields: Mapping[str, _Value] = field(default_factory=dict)
    """It is a struct that the query built."""
    element: _Value | None = None
    """It is a list of these that the query built."""


_NOTHING: Final = _Value()


def _either(values: Iterable[_Value]) -> _Value:
    found = list(values)
    fields: dict[str, _Value] = {}
    for value in found:
        for name, part in value.fields.items():
            fields[name] = _either([fields[name], part]) if name in fields else part
    elements = [value.element for value in found if value.element is not None]
    return _Value(
        tuple(use for value in found for use in value.uses),
        tuple(use for value in found for use in value.items),
        fields,
        _either(elements) if elements else None,
    )


def _take_as_list(value: _Value) -> _Value:
    """Note that a value is a list; return what its elements are."""
    for use in value.uses:
        use.as_list = True
    element = _Value(items=value.uses)
    return element if value.element is None else _either([element, value.element])


def _take_as_value(value: _Value) -> _Value:
    """Note that a value is no list."""
    for use in value.uses:
        use.as_value = True
    return value


def _member(value: _Value, name: str) -> _Value:
    found = [value.fields[name.lower()]] if name.lower() in value.fields else []
    inner = tuple(use.member(name) for use in (*value.uses, *value.items))
    return _either([*found, _Value(uses=inner)])


@dataclass(slots=True)
class _Source:
    """What stands in FROM under one name."""

    columns: dict[str, _Value] = field(default_factory=dict)
    """By name in small letters."""
    row: _Value | None = None
    """What UNNEST names, which is no table but a value."""
    root: Use | None = None
    """Of the attributes, where it is a table of them: it has every column."""

    def column(self, name: str) -> _Value:
        if self.row is not None:
            return _member(self.row, name)
        if name.lower() not in self.columns and self.root is not None:
            return _Value(uses=(self.root.member(name),))
        return self.columns.get(name.lower(), _NOTHING)


_Sources = dict[str, _Source]
_Scopes = tuple[_Sources, ...]
"""Of the query, and of those around it."""

# they return what they are given, or one of it
_PASSING: Final = (
    exp.Paren,
    exp.AnyValue,
    exp.Coalesce,
    exp.IgnoreNulls,
    exp.RespectNulls,
    exp.Distinct,
    exp.Lead,
    exp.Lag,
    exp.FirstValue,
    exp.LastValue,
    exp.Window,
    exp.Subquery,
)
_PASSING_ONE: Final = (exp.Min, exp.Max, exp.Nullif)
_OF_LISTS: Final = (exp.ArraySize, exp.ArrayToString, exp.ArrayConcat, exp.ArrayReverse)
_OF_VALUES: Final = (
    exp.Binary,
    exp.Between,
    exp.Cast,
    exp.Concat,
    exp.Count,
    exp.Group,
    exp.GroupConcat,
    exp.In,
    exp.Split,
    exp.Ordered,
)


class _Query:
    """A query, whose attributes are followed through it.

    Parameters
    ----------
    root
        Is given what is found.
    query
        To be read.
    known
        The common table expressions that it sees.
    around
        Sources of the queries around it.
    """

    def __init__(
        self,
        root: Use,
        query: exp.Expr,
        known: Mapping[str, _Source] | None = None,
        around: _Scopes = (),
    ) -> None:
        self._root = root
        self._known = dict(known or {})
        self._sources: _Sources = {}
        self._scopes = around
        self.outputs = _Source()
        """Its columns."""
        with_ = query.args.get("with_")
        for cte in with_.expressions if with_ else ():
            self._known[cte.alias.lower()] = self._inner(cte.this)
        if isinstance(query, exp.Subquery):
            self.outputs = self._inner(query.this)
        elif isinstance(query, exp.SetOperation):
            self.outputs = self._united(query)
        else:
            self._scopes = (self._sources, *around)
            self._read(query)

    def _inner(self, query: exp.Expr) -> _Source:
        """Read a query that sees what this one sees; return its columns."""
        return _Query(self._root, query, self._known, self._scopes).outputs

    def _united(self, query: exp.SetOperation) -> _Source:
        left, right = self._inner(query.left), self._inner(query.right)
        pairs = zip(left.columns.items(), right.columns.values(), strict=False)
        return _Source({name: _either([one, other]) for (name, one), other in pairs})

    def _read(self, query: exp.Expr) -> None:
        from_ = query.args.get("from_")
        joins = query.args.get("joins") or []
        for clause in [*([from_] if from_ else []), *joins, *(query.args.get("laterals") or [])]:
            self._add_source(clause.this)
        for expression in query.expressions:
            self._add_output(expression)
        for join in joins:
            for condition in [join.args.get("on"), *(join.args.get("using") or [])]:
                self._read_using(condition)
        for clause in ("where", "group", "having", "qualify", "order"):
            self._read_clause(clause, query.args.get(clause))

    def _add_source(self, source: exp.Expr) -> None:
        sources = self._sources
        name = source.alias_or_name.lower()
        if isinstance(source, exp.Unnest):
            value = _either(map(self._value, source.expressions))
            alias = source.args.get("alias")
            names = [each.name.lower() for each in alias.columns] if alias else []
            sources[names[0] if names else f" {len(sources)}"] = _Source(row=_take_as_list(value))
            offset = source.args.get("offset")
            if isinstance(offset, exp.Expr):
                sources[f" {len(sources)}"] = _Source({offset.name.lower(): _NOTHING})
        elif isinstance(source, exp.Subquery):
            sources[name or f" {len(sources)}"] = self._inner(source.this)
        elif isinstance(source, exp.Table):
            own = None if source.db else self._known.get(source.name.lower())
            sources[name] = own or _Source(root=self._root)

    def _add_output(self, expression: exp.Expr) -> None:
        outputs = self.outputs
        if expression.is_star:
            table = expression.args.get("table")
            for name, source in self._sources.items():
                if table is None or table.name.lower() == name:
                    outputs.columns |= source.columns
                    outputs.root = outputs.root or source.root
            return
        name = expression.output_name.lower() or f" {len(outputs.columns)}"
        outputs.columns[name] = self._value(expression.unalias())

    def _read_clause(self, clause: str, read: exp.Expr | None) -> None:
        if read is None:
            return
        # WHERE knows no outputs; ORDER BY means them first, the others last
        named = {" outputs": _Source(self.outputs.columns)} if clause != "where" else {}
        own, *around = self._scopes
        inner = {**named, **own} if clause == "order" else {**own, **named}
        self._scopes = (inner, *around)
        self._value(read)
        self._scopes = (own, *around)

    def _read_using(self, condition: exp.Expr | None) -> None:
        if isinstance(condition, exp.Identifier):
            for source in self._sources.values():
                _take_as_value(source.column(condition.name))
        elif condition is not None:
            self._value(condition)

    def _value(self, expression: exp.Expr) -> _Value:
        """Tell what an expression may be, and note how it uses what it is made of."""
        if isinstance(expression, exp.Column):
            return self._column(expression)
        if isinstance(expression, (exp.Select, exp.SetOperation)):
            outputs = self._inner(expression)
            if expression.args.get("kind") == "STRUCT":
                return _Value(fields=outputs.columns)
            return next(iter(outputs.columns.values()), _NOTHING)
        if isinstance(expression, (exp.Alias, exp.PropertyEQ)):
            return self._value(expression.args.get("expression") or expression.this)
        if isinstance(expression, exp.Dot):
            return _member(self._value(expression.this), expression.expression.name)
        if isinstance(expression, (exp.If, exp.Case)):
            return self._branches(expression)
        parts = {
            id(part): self._value(part)
            for part in expression.iter_expressions()
            if not isinstance(part, (exp.Identifier, exp.DataType))
        }
        return _combined(expression, parts)

    def _branches(self, expression: exp.Expr) -> _Value:
        """Read CASE and IF, whose value is that of one branch."""
        results = ("true", "false", "default")
        values = []
        for name, argument in expression.args.items():
            for part in argument if isinstance(argument, list) else [argument]:
                if isinstance(part, exp.Expr):
                    value = self._value(part)
                    values += [value] if name in results or name == "ifs" else []
        return _either(values)

    def _column(self, column: exp.Column) -> _Value:
        names = [part.name for part in column.parts]
        for sources in self._scopes:
            if len(names) > 1 and names[0].lower() in sources:
                value = sources[names[0].lower()].column(names[1])
                return _inside(value, names[2:])
        return _inside(self._unqualified(names[0]), names[1:])

    def _unqualified(self, name: str) -> _Value:
        for sources in self._scopes:
            for source in sources.values():
                if name.lower() in source.columns:
                    return source.columns[name.lower()]
            row = sources[name.lower()].row if name.lower() in sources else None
            if row is not None:
                return row
            for source in sources.values():
                if source.root is not None:
                    return source.column(name)
        return _NOTHING


def _inside(value: _Value, names: Iterable[str]) -> _Value:
    for name in names:
        value = _member(value, name)
    return value


def _combined(expression: exp.Expr, parts: Mapping[int, _Value]) -> _Value:
    """Tell what an expression is, by what its parts are."""
    first = parts.get(id(expression.this), _NOTHING)
    if isinstance(expression, (exp.Array, exp.ArrayAgg, exp.Struct)):
        return _built(expression, first, parts)
    if isinstance(expression, exp.Bracket):
        return _take_as_list(first)
    if isinstance(expression, exp.Unnest):  # behind IN
        return _either(map(_take_as_list, parts.values()))
    if isinstance(expression, (exp.Order, exp.Limit)):
        return first
    if isinstance(expression, _PASSING):
        return _either(parts.values())
    if isinstance(expression, _PASSING_ONE):
        return _take_as_value(first)
    if isinstance(expression, _OF_LISTS):
        _take_as_list(first)
    elif isinstance(expression, _OF_VALUES):
        for part in parts.values():
            _take_as_value(part)
    return _NOTHING


def _built(expression: exp.Expr, first: _Value, parts: Mapping[int, _Value]) -> _Value:
    """Tell what a list or a struct that the query builds is made of."""
    if isinstance(expression, exp.ArrayAgg):
        return _Value(element=_take_as_value(first))
    if isinstance(expression, exp.Array):
        return _Value(element=_either(parts.values()))
    names = [part.output_name or part.name for part in expression.expressions]
    values = [parts.get(id(part), _NOTHING) for part in expression.expressions]
    return _Value(fields={n.lower(): v for n, v in zip(names, values, strict=True)})
