"""Which attributes a query reads, and whether it takes each as one value or as a list of them.

BigQuery's ``dicom_all`` has an attribute as a list where IDC's export met several values, which is
not always where the dictionary's VM says so. The queries tell: what they index, UNNEST or count
is a list, what they compare, cast or join is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from pydicom import datadict
from sqlglot import exp


@dataclass(slots=True)
class Use:
    """How queries use one attribute."""

    name: str
    """Its keyword; any other name is a column that no header has."""
    as_list: bool = False
    """It is indexed, unnested, measured or joined to a text."""
    as_value: bool = False
    """It is compared, cast or aggregated as it is."""
    members: dict[str, Use] = field(default_factory=dict)
    """What is read of the items of a sequence, by keyword."""

    @property
    def repeated(self) -> bool | None:
        """Whether it is a list; None where nothing tells."""
        # taken for a text by mistake, the first value of a list would be a letter
        return True if self.as_list else False if self.as_value else None

    @property
    def is_attribute(self) -> bool:
        """Whether the dictionary has it."""
        return self.name in datadict.keyword_dict

    def member(self, name: str) -> Use:
        """Return the use of a member."""
        return self.members.setdefault(keyword(name), Use(keyword(name)))

    def add(self, other: Use) -> None:
        """Add what another query does with the same attribute."""
        self.as_list |= other.as_list
        self.as_value |= other.as_value
        for name in other.members:
            self.member(name).add(other.members[name])

    def paths(self) -> Iterable[tuple[Use, ...]]:
        """Yield the way to each attribute that has no items, or of whose items nothing is read."""
        # the parts of a name are no attributes
        members = [each for each in self.members.values() if each.is_attribute]
        if not members or sequence_tag(self.name) is None:
            yield (self,)
            return
        for member in members:
            for rest in member.paths():
                yield (self, *rest)


@cache
def _keywords() -> dict[str, str]:
    return {name.lower(): name for name in datadict.keyword_dict}


def keyword(name: str) -> str:
    """Write a name as the dictionary does: SQL has no upper and lower case."""
    return _keywords().get(name.lower(), name)


def sequence_tag(name: str) -> int | None:
    """Return the tag of a sequence; None for any other name."""
    tag = datadict.tag_for_keyword(name)
    return tag if tag is not None and datadict.dictionary_VR(tag) == "SQ" else None


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
    outputs = _Reader(root).outputs(query, {}, ())
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


class _Reader:
    """Follows the attributes through a query.

    Parameters
    ----------
    root
        Is given what is found.
    """

    def __init__(self, root: Use) -> None:
        self._root = root

    def outputs(self, query: exp.Expr, ctes: Mapping[str, _Source], around: _Scopes) -> _Source:
        """Read a query; return its columns."""
        known = dict(ctes)
        with_ = query.args.get("with_")
        for cte in with_.expressions if with_ else ():
            known[cte.alias.lower()] = self.outputs(cte.this, known, around)
        if isinstance(query, exp.Subquery):
            return self.outputs(query.this, known, around)
        if isinstance(query, exp.SetOperation):
            return self._united(query, known, around)
        sources: _Sources = {}
        scopes = (sources, *around)
        from_ = query.args.get("from_")
        joins = query.args.get("joins") or []
        for clause in [*([from_] if from_ else []), *joins, *(query.args.get("laterals") or [])]:
            self._add_source(clause.this, known, scopes)
        outputs = _Source()
        for expression in query.expressions:
            self._add_output(expression, outputs, known, scopes)
        for join in joins:
            for condition in [join.args.get("on"), *(join.args.get("using") or [])]:
                self._read_using(condition, known, scopes)
        for clause in ("where", "group", "having", "qualify", "order"):
            self._read_clause(query, clause, outputs, known, scopes)
        return outputs

    def _united(
        self, query: exp.SetOperation, known: Mapping[str, _Source], around: _Scopes
    ) -> _Source:
        left = self.outputs(query.left, known, around)
        right = self.outputs(query.right, known, around)
        pairs = zip(left.columns.items(), right.columns.values(), strict=False)
        return _Source({name: _either([one, other]) for (name, one), other in pairs})

    def _add_source(self, source: exp.Expr, ctes: Mapping[str, _Source], scopes: _Scopes) -> None:
        sources = scopes[0]
        name = source.alias_or_name.lower()
        if isinstance(source, exp.Unnest):
            value = _either(self._value(each, ctes, scopes) for each in source.expressions)
            alias = source.args.get("alias")
            names = [each.name.lower() for each in alias.columns] if alias else []
            sources[names[0] if names else f" {len(sources)}"] = _Source(row=_take_as_list(value))
            offset = source.args.get("offset")
            if isinstance(offset, exp.Expr):
                sources[f" {len(sources)}"] = _Source({offset.name.lower(): _NOTHING})
        elif isinstance(source, exp.Subquery):
            sources[name or f" {len(sources)}"] = self.outputs(source.this, ctes, scopes)
        elif isinstance(source, exp.Table):
            own = None if source.db else ctes.get(source.name.lower())
            sources[name] = own or _Source(root=self._root)

    def _add_output(
        self,
        expression: exp.Expr,
        outputs: _Source,
        ctes: Mapping[str, _Source],
        scopes: _Scopes,
    ) -> None:
        if expression.is_star:
            table = expression.args.get("table")
            for name, source in scopes[0].items():
                if table is None or table.name.lower() == name:
                    outputs.columns |= source.columns
                    outputs.root = outputs.root or source.root
            return
        name = expression.output_name.lower() or f" {len(outputs.columns)}"
        outputs.columns[name] = self._value(expression.unalias(), ctes, scopes)

    def _read_clause(
        self,
        query: exp.Expr,
        clause: str,
        outputs: _Source,
        ctes: Mapping[str, _Source],
        scopes: _Scopes,
    ) -> None:
        read = query.args.get(clause)
        if read is None:
            return
        # WHERE knows no outputs; ORDER BY means them first, the others last
        named = {" outputs": _Source(outputs.columns)} if clause != "where" else {}
        inner = {**named, **scopes[0]} if clause == "order" else {**scopes[0], **named}
        self._value(read, ctes, (inner, *scopes[1:]))

    def _read_using(
        self, condition: exp.Expr | None, ctes: Mapping[str, _Source], scopes: _Scopes
    ) -> None:
        if isinstance(condition, exp.Identifier):
            for source in scopes[0].values():
                _take_as_value(source.column(condition.name))
        elif condition is not None:
            self._value(condition, ctes, scopes)

    def _value(self, expression: exp.Expr, ctes: Mapping[str, _Source], scopes: _Scopes) -> _Value:
        """Tell what an expression may be, and note how it uses what it is made of."""
        if isinstance(expression, exp.Column):
            return _column(expression, scopes)
        if isinstance(expression, (exp.Select, exp.SetOperation)):
            outputs = self.outputs(expression, ctes, scopes)
            if expression.args.get("kind") == "STRUCT":
                return _Value(fields=outputs.columns)
            return next(iter(outputs.columns.values()), _NOTHING)
        if isinstance(expression, (exp.Alias, exp.PropertyEQ)):
            named = expression.args.get("expression") or expression.this
            return self._value(named, ctes, scopes)
        if isinstance(expression, exp.Dot):
            whole = self._value(expression.this, ctes, scopes)
            return _member(whole, expression.expression.name)
        if isinstance(expression, (exp.If, exp.Case)):
            return self._branches(expression, ctes, scopes)
        parts = {
            id(part): self._value(part, ctes, scopes)
            for part in expression.iter_expressions()
            if not isinstance(part, (exp.Identifier, exp.DataType))
        }
        return _combined(expression, parts)

    def _branches(
        self, expression: exp.Expr, ctes: Mapping[str, _Source], scopes: _Scopes
    ) -> _Value:
        """Read CASE and IF, whose value is that of one branch."""
        results = ("true", "false", "default")
        values = []
        for name, argument in expression.args.items():
            for part in argument if isinstance(argument, list) else [argument]:
                if isinstance(part, exp.Expr):
                    value = self._value(part, ctes, scopes)
                    values += [value] if name in results or name == "ifs" else []
        return _either(values)


def _column(column: exp.Column, scopes: _Scopes) -> _Value:
    names = [part.name for part in column.parts]
    for sources in scopes:
        if len(names) > 1 and names[0].lower() in sources:
            value = sources[names[0].lower()].column(names[1])
            return _inside(value, names[2:])
    return _inside(_unqualified(names[0], scopes), names[1:])


def _inside(value: _Value, names: Iterable[str]) -> _Value:
    for name in names:
        value = _member(value, name)
    return value


def _unqualified(name: str, scopes: _Scopes) -> _Value:
    for sources in scopes:
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
