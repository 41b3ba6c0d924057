"""One turn of a conversation: what a message means, what is searched, what the model is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.llms import LLM, ChatMessage, MessageRole
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import BaseModel, Field

from mmrag_plugin.answer_told import AnswerTold
from mmrag_plugin.citations import Citations
from mmrag_plugin.conversation import Conversation, Turn
from mmrag_plugin.filters import Filters
from mmrag_plugin.following import in_time
from mmrag_plugin.llama_events import retrieval_told
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.follow_ups import FollowUp, follow_up
from mmrag_plugin.results import SearchResult
from mmrag_plugin.retrieval import hit_node, hit_nodes
from mmrag_plugin.showing import ALL_TEXT_CHARS, Shown, TimedPicture, show
from mmrag_plugin.sources import hit_facts
from mmrag_plugin.untrusted import escape_picture_tags, quoted
from mmrag_plugin.vlm.base import user_message
from mmrag_plugin.vlm.prompts import (
    CHAT_SYSTEM,
    CONDENSE_SYSTEM,
    NO_MORE,
    NOTHING_BESIDE,
    NOTHING_FOUND,
    START_OVER,
)

LIMIT = 6  # sources of a turn
MAX_PICTURES = 6  # of one request, those of earlier turns included
MAX_EARLIER_PICTURES = 3
MAX_SOURCES = 20  # of one request
MESSAGES_TO_CONDENSE = 6


class ConversingLibrary(Protocol):
    """What a conversation needs of a library."""

    def plan_question(self, question: str) -> Plan:
        """Say what a question asks for."""

    def search_plan(self, plan: Plan, *, limit: int, **options: Any) -> SearchResult:
        """Find what a plan asks for, best first."""

    def pictures_of(self, hit: Hit, count: int) -> list[TimedPicture]:
        """Open up to so many pictures of a hit with their times, in order; none if it is gone."""

    def words_of(self, moment: Moment) -> str:
        """What is known about a moment in words; not to be trusted."""


class Condensed(BaseModel):
    """What a model makes of a message that the rules are not sure of."""

    standalone_question: str = Field(max_length=1_000)
    refers_to: list[int] = Field(default_factory=list, max_length=20)
    new_search: bool = True


@dataclass
class TurnAtWork:
    """A turn before its answer.

    ``after`` is the conversation with this turn's sources numbered. ``messages`` are for the model;
    where there are none, ``answer`` is the answer. ``metadata`` and ``nodes`` are what LlamaIndex
    gets; warnings and citations fill up as the answer comes.
    """

    message: str
    after: Conversation
    plan: Plan | None = None
    found: int = 0
    numbers: tuple[int, ...] = ()
    messages: list[ChatMessage] = field(default_factory=list)
    answer: str = ""
    nodes: list[NodeWithScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    model: str = ""
    restarts: bool = False

    def __post_init__(self) -> None:
        self.citations = Citations(len(self.after.sources), self.warnings)
        self.metadata: dict[str, Any] = {
            "model": self.model,
            "warnings": self.warnings,
            "cited": self.citations.cited,
            "numbers": list(self.numbers),
            "plan": self.plan,
        }

    def tell(self, told: AnswerTold, _: str = "") -> None:
        """Say that the answer is there."""
        told.whole(len(self.nodes), len(self.citations.cited))

    def end(self, answer: str) -> Conversation:
        """The conversation after this turn. Cited sources of earlier turns join the nodes."""
        if self.restarts:
            return Conversation()
        known = {node.node.metadata["number"] for node in self.nodes}
        for number in self.citations.cited:
            hit = self.after.source(number)
            if number not in known and hit is not None:
                self.nodes.append(hit_node(hit, has_photo=False, number=number))
        cited = tuple(self.citations.cited)
        turn = Turn(self.message, answer, self.plan, self.numbers, cited, self.found)
        return self.after.with_turn(turn)


class Turns:
    """Prepares the turns of conversations with one library and one model."""

    def __init__(
        self,
        library: ConversingLibrary,
        llm: LLM,
        *,
        limit: int = LIMIT,
        filters: Filters | None = None,
        max_pictures: int = MAX_PICTURES,
        max_earlier_pictures: int = MAX_EARLIER_PICTURES,
        system_prompt: str = CHAT_SYSTEM,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._library = library
        self._llm = llm
        self._limit = limit
        self._max_pictures = max_pictures
        self._max_earlier_pictures = max_earlier_pictures
        self._system_prompt = system_prompt
        self._options = dict(options or {}) | (
            {} if filters in (None, Filters()) else {"filters": filters}
        )

    # ---- what it means ------------------------------------------------------------------------

    def understand(self, message: str, before: Conversation) -> FollowUp:
        """Say by rules what a message means."""
        return follow_up(message, before, self._library.plan_question)

    def condensing(self, message: str, before: Conversation) -> list[ChatMessage]:
        """Write what a model is asked where the rules are not sure.

        It reads what the person said and never what media or models did: text out of a file has no
        say in what is searched.
        """
        earlier = [turn.message for turn in before.turns[-MESSAGES_TO_CONDENSE:]]
        lines = ["Earlier messages:", *(f"- {text}" for text in earlier), "Sources shown last:"]
        for number in before.page:
            lines.append(f"[{number}] {hit_facts(before.sources[number - 1])}")
        lines.append(f"The last message: {message}")
        return [
            ChatMessage(role=MessageRole.SYSTEM, content=CONDENSE_SYSTEM),
            ChatMessage(role=MessageRole.USER, content=escape_picture_tags("\n".join(lines))),
        ]

    def understood(self, condensed: Condensed, message: str, before: Conversation) -> FollowUp:
        """Say what a message means after a model looked at it."""
        known = range(1, len(before.sources) + 1)
        named = tuple(number for number in condensed.refers_to if number in known)
        if not condensed.new_search:
            return FollowUp("look", refers_to=named or before.page, sure=False)
        plan = self._library.plan_question(condensed.standalone_question.strip() or message)
        return FollowUp("refine", plan, named, sure=False)

    # ---- what is found and told ---------------------------------------------------------------

    def prepare(
        self, message: str, follow: FollowUp, before: Conversation, history: Sequence[ChatMessage]
    ) -> TurnAtWork:
        """Search, open the pictures and write the messages."""
        if follow.meaning == "restart":
            return TurnAtWork(message, Conversation(), answer=START_OVER, restarts=True)
        if follow.missing:
            return TurnAtWork(message, before, answer=_no_such(follow.missing, before))
        if follow.plan is None:
            return self._told(message, follow, before, list(follow.refers_to), history)
        found_before = before.found if follow.meaning == "more" else 0
        result, page = self._search(follow.plan, found_before)
        sure = [hit for hit in page if follow.plan.like or hit.confidence != "none"]
        if result.beside and not follow.plan.like and not found_before:
            sure = in_time([*result.beside, *sure])
        after, numbers = before.with_hits(sure)
        found = found_before + len(page)  # hits that show the same have one number
        return self._told(message, follow, after, numbers, history, result, found)

    def _search(self, plan: Plan, found_before: int) -> tuple[SearchResult, list[Hit]]:
        upto = found_before + min(plan.limit or self._limit, MAX_SOURCES)
        if plan.limit is not None:
            plan = replace(plan, limit=upto)
        options = dict(self._options)
        if plan.like and options.get("min_confidence") == "weak":
            options["min_confidence"] = "none"  # something is always the most alike
        with retrieval_told(QueryBundle(plan.question)) as told:
            result = self._library.search_plan(plan, limit=upto, **options)
            page = result.hits[found_before:upto]
            told(lambda: hit_nodes(page))
        return result, page

    def _told(
        self,
        message: str,
        follow: FollowUp,
        after: Conversation,
        numbers: list[int],
        history: Sequence[ChatMessage],
        result: SearchResult | None = None,
        found: int = 0,
    ) -> TurnAtWork:
        warnings = list(result.warnings) if result else []
        at_work = TurnAtWork(
            message,
            after,
            follow.plan,
            found,
            tuple(numbers),
            warnings=warnings,
            model=self._llm.metadata.model_name,
        )
        earlier = self._earlier(follow, after, numbers)
        count = result.count if result else None
        nothing = result is not None and not numbers and count is None
        if nothing and not (earlier and follow.looks_again):
            at_work.answer = NO_MORE if follow.meaning == "more" else NOTHING_FOUND
            if follow.plan and follow.plan.moment and result is not None and result.beside:
                at_work.answer = NOTHING_BESIDE.format(which=follow.plan.moment)
            return at_work
        shown = self._shown(follow, after, numbers, earlier, warnings)
        blocks = shown.blocks
        if count is not None:
            blocks.append(TextBlock(text=f"\nThe library counts {count} media for the question.\n"))
        intro = "\nThe question: " if blocks else ""
        blocks.append(TextBlock(text=f"{intro}{message}"))
        at_work.nodes = shown.nodes
        at_work.messages = [
            ChatMessage(role=MessageRole.SYSTEM, content=self._system_prompt),
            *map(_retold, history),
            user_message(self._llm, blocks),
        ]
        return at_work

    def _earlier(self, follow: FollowUp, after: Conversation, numbers: list[int]) -> list[int]:
        """Sources of earlier turns that go along, the referred-to first, then the newest."""
        named = [number for number in follow.refers_to if number not in numbers]
        by_itself = follow.meaning in ("talk", "look", "beside") or (
            follow.meaning == "fresh" and follow.sure
        )
        if by_itself:
            return named
        others = (number for number in after.numbers_by_age() if number not in numbers)
        return list(dict.fromkeys([*named, *others]))[: MAX_SOURCES - len(numbers)]

    def _shown(
        self,
        follow: FollowUp,
        after: Conversation,
        numbers: list[int],
        earlier: list[int],
        warnings: list[str],
    ) -> Shown:
        """Show the sources of this turn and what is referred to, then those of earlier turns."""
        first = [*(n for n in earlier if n in follow.refers_to), *numbers]
        if follow.meaning == "beside":  # what happens is told in order
            first.sort(key=lambda number: _begins(after.sources[number - 1]))
        rest = [number for number in earlier if number not in first]
        if not first and not rest:
            return Shown()
        chars = ALL_TEXT_CHARS // (len(first) + len(rest))
        looks = follow.meaning == "look"
        sources = [(number, self._source(after, number, in_full=looks)) for number in first]
        shown = show(
            sources,
            self._library.pictures_of,
            warnings,
            max_pictures=self._max_pictures,
            max_chars=chars,
        )
        if first:
            shown.blocks.insert(0, TextBlock(text="The sources:\n"))
        if rest:
            left = min(self._max_earlier_pictures, self._max_pictures - shown.pictures)
            others = show(
                [(number, self._source(after, number)) for number in rest],
                self._library.pictures_of,
                warnings,
                max_pictures=left,
                max_chars=chars,
            )
            heading: ContentBlock = TextBlock(text="\nSources of earlier turns:\n")
            shown.blocks += [heading, *others.blocks]
            shown.nodes += others.nodes
        return shown

    def _source(self, after: Conversation, number: int, *, in_full: bool = False) -> Hit:
        """A source; ``in_full`` with all that is known of it in words."""
        hit = after.sources[number - 1]
        known = self._library.words_of(hit.moment) if in_full else ""
        return replace(hit, text=known, reason="") if known else hit


def _begins(hit: Hit) -> tuple[float, str]:
    return hit.moment.start_s or 0.0, hit.taken_at or ""


def _retold(message: ChatMessage) -> ChatMessage:
    """What was said before, as a model gets it again."""
    text = message.content or ""
    safe = quoted(text) if message.role == MessageRole.ASSISTANT else escape_picture_tags(text)
    return ChatMessage(role=message.role, content=safe)


def _no_such(missing: Sequence[int], before: Conversation) -> str:
    numbers = " and no ".join(map(str, missing))
    return f"There is no source {numbers} here; the last is {len(before.sources)}."
