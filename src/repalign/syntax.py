"""Python code as a syntax tree."""

import ast
from collections import deque
from collections.abc import Iterator


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and all of its statements, breadth first, in the order of `ast.walk`.

    Expressions, most of a tree, are left out: they hold no definition and no import.
    """
    todo = deque[ast.AST]([tree])
    while todo:
        node = todo.popleft()
        yield node
        inner = ast.iter_child_nodes(node)
        todo.extend(child for child in inner if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case))
