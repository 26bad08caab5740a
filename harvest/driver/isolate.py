"""Finding the object that kills its workers: its part is read in ever smaller pieces.

Pieces are read one at a time, so that nothing else can be blamed for a death. What a piece gave
is kept in the output, and a run that is started again does not read it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import pyarrow as pa

from ..errors import ErrorKind, ObjectError
from ..output import Output
from ..store.fetch import Traffic
from ..table.arrow import read_plan_rows
from ..table.parts import Part, table_of, take_part, write_part
from ..table.rows import error_row
from ..table.union import TableColumns, conform

PIECES: Final = 16
"""Of a part, or of a piece that killed its workers."""


def known_suspects(parts: Iterable[Part], output: Output) -> set[str]:
    """Return the names of the parts that killed their workers in this run or an earlier one."""
    folders = {_place(part)[0] for part in parts}
    marks = {name for folder in folders for name in output.names(f"{folder}/suspects")}
    return {part.name for part in parts if _mark(part) in marks}


def _place(part: Part) -> tuple[str, str]:
    """Split a part's name into its folder and what of it names its pieces."""
    folder, _, name = part.name.rpartition("/")
    return folder, name.removesuffix(".arrow")


def _mark(part: Part) -> str:
    folder, name = _place(part)
    return f"{folder}/suspects/{name}"


def _pieces(part: Part) -> str:
    folder, name = _place(part)
    return f"{folder}/pieces/{name}"


def read_in_pieces(
    part: Part, rows: int, output: Output, columns: TableColumns, read: Callable[[Part], bool]
) -> pa.Table:
    """Read a part that killed its workers, and write its result.

    Parameters
    ----------
    part
        The suspect.
    rows
        Of its partition.
    output
        Holds the plan and the pieces.
    columns
        Of the table.
    read
        Reads a piece, alone; False where that killed its workers.

    Returns
    -------
    pyarrow.Table
        The result: rows of ``instances``.

    Raises
    ------
    RunAgain
        A piece of an earlier run was damaged, and is removed.
    """

    def harmless(piece: Part) -> bool:
        """Tell whether its result is there, or comes when it is read."""
        return output.exists(piece.name) or (not output.exists(_mark(piece)) and read(piece))

    output.write(_mark(part), b"")
    waiting = deque(_split(part, part.rows or tuple(range(rows))))
    finished = []
    while waiting:
        piece = waiting.popleft()
        assert piece.rows is not None
        dead = not harmless(piece)
        if dead and len(piece.rows) > 1:
            output.write(_mark(piece), b"")
            waiting.extendleft(reversed(_split(part, piece.rows)))
            continue
        # an object alone, once more: this one death may have had a cause outside
        if dead and not read(piece):
            _write_killed(piece, output, columns.schema((), of_a_part=True))
        finished.append(take_part(output, piece, columns.fixed))
    schema = columns.schema((table.schema for table in finished), of_a_part=True)
    batches = [conform(batch, schema) for table in finished for batch in table.to_batches()]
    table = pa.Table.from_batches(batches, schema)
    write_part(output, part, table)
    output.remove(_pieces(part))
    output.remove(_mark(part))
    return table


def _split(part: Part, rows: tuple[int, ...]) -> list[Part]:
    size = max(1, -(-len(rows) // PIECES))
    return [_piece(part, rows[start : start + size]) for start in range(0, len(rows), size)]


def _piece(part: Part, rows: tuple[int, ...]) -> Part:
    name = f"{_pieces(part)}/{rows[0]:06d}-{rows[-1]:06d}.arrow"
    return replace(part, name=name, rows=rows)


def _write_killed(piece: Part, output: Output, schema: pa.Schema) -> None:
    assert piece.rows is not None
    planned = read_plan_rows(output, piece.partition)[piece.rows[0]]
    killed = ObjectError(ErrorKind.KILLED_WORKER, "every worker that read it alone died")
    write_part(output, piece, table_of([error_row(planned, Traffic(), killed)], schema))
