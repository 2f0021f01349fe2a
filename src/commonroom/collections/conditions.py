"""The conditions of one rule as SQL, and what was met in reading them: parameters, items, values that nobody could read."""

from __future__ import annotations

from commonroom.collections.joins import Source
from commonroom.collections.model import RETURN, Module, Other, Rule
from commonroom.collections.predicates import Condition, Language, Scope, quoted, read
from commonroom.collections.tables import is_typed, unreadable
from commonroom.problems import Problem


class Conditions:
    """Reads the conditions of one rule.

    `unreadable` are (module, item) of which some value could not be read: rows with such a value are left to the finding
    that says so.
    """

    def __init__(self, language: Language, rule: Rule, unreadable: frozenset[tuple[str, str]]) -> None:
        self._language = language
        self._rule = rule
        self._unreadable = unreadable
        # Statements that count rows with such values.
        self.unread: dict[str, None] = {}
        self.parameters: set[str] = set()
        self.reads: set[tuple[str, str]] = set()

    def read(self, text: str, scope: Scope, where: str) -> Condition:
        """A text in the language of conditions. Raises Problem CR-182."""
        parsed = read(text, scope, self._language, where)
        self.parameters |= parsed.parameters
        return parsed

    def condition(
        self,
        text: str,
        modules: dict[str, Module],
        default: str | None,
        key: str,
        source: Source,
        figures: dict[str, str] | None = None,
        certain: bool = True,
    ) -> str:
        """A condition as SQL. Where a value it reads could not be read it does not hold; or does, if `certain` is false."""
        scope = Scope(modules, default, figures or {})
        parsed = self.read(text, scope, f"rule {self._rule.code}, {key}")
        self.reads |= {(modules[alias].name, item) for alias, item in parsed.reads}
        guard = self._guard(parsed, modules)
        if not guard:
            return parsed.sql
        self.unread[f"(SELECT count(*) FROM {source.sql} WHERE {guard})"] = None
        return f"({parsed.sql}) AND NOT ({guard})" if certain else f"({parsed.sql}) OR {guard}"

    def _guard(self, parsed: Condition, modules: dict[str, Module]) -> str:
        return " OR ".join(
            unreadable(quoted(alias), modules[alias].by_name[item])
            for alias, item in sorted(parsed.reads)
            if (modules[alias].name, item) in self._unreadable and is_typed(modules[alias].by_name[item])
        )

    def check_bounded(self, other: Other, same: str, text: str, modules: dict[str, Module], key: str) -> None:
        """Rows of the whole return are found by an equal value: comparing every row with every other never ends."""
        if same != RETURN or self._rule.for_each is None:
            return
        parsed = read(text, Scope(modules, other.alias), self._language, f"rule {self._rule.code}, {key}")
        inside = {other.alias, *other.reached}
        outside = {alias for alias, _ in parsed.reads} - inside
        if outside and not any(pair & inside and pair - inside for pair in parsed.equal):
            raise Problem(
                "CR-182",
                f"it compares each row with every row of the return, in {text[:200]!r}",
                where=f"rule {self._rule.code}, {key}",
                remedy="Let it hold an item of the one equal to an item of the other, or name a nearer `same`.",
            )
