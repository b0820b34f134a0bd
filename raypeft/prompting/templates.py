"""Prompt templates of the user's own, as a sweep file gives them: checked when the sweep is planned.

    prompt_template: "# {nl}\\n"
    prompt_template: {query: "Q: {nl}\\nA:\\n", answer: "{code}\\n---", stop: "\\n---"}

A placeholder is written in braces; `{{` and `}}` are literal braces, as in Python's str.format.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from raypeft.data.text import as_strings, template_parts
from raypeft.mistakes import described, nearest
from raypeft.prompting.forms import NAMED, PromptForm
from raypeft.records import Form


class PromptTemplate(BaseModel):
    """A template as a mapping. Its fields are those of `raypeft.records.Form`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    query: str = Field(description="Text of the query, with {nl} and, if wanted, {starter_code}")
    shot: str | None = Field(
        None,
        description="Text of a shot, with {nl}, {code} and, if wanted, {starter_code}. null: the query, the answer and "
        "an empty line",
    )
    answer: str = Field("{code}", description="Text of an answer. It begins with {code}")
    stop: Annotated[tuple[str, ...] | None, BeforeValidator(as_strings)] = Field(
        None,
        description="Strings that end an answer. null: what follows {code} in the answer, or else the dataset's",
    )

    @model_validator(mode="after")
    def _can_be_filled(self) -> "PromptTemplate":
        check_placeholders("query", self.query, ("nl", "starter_code"), ("nl",))
        if self.shot is not None:
            check_placeholders("shot", self.shot, ("nl", "code", "starter_code"), ("nl", "code"))
        check_placeholders("answer", self.answer, ("code",), ("code",))
        if not self.answer.startswith("{code}"):
            raise ValueError(f"answer must begin with {{code}}, as what stands before it belongs to the end of the "
                             f"query, but got {self.answer!r}")  # fmt: skip
        if self.query.rstrip().endswith("{starter_code}"):
            raise ValueError(f"query must not end with {{starter_code}}, as an answer is a whole program that begins "
                             f"with it, but got {self.query!r}")  # fmt: skip
        if self.stop is not None and not all(self.stop):
            raise ValueError(f"stop must have strings of at least one character but got {list(self.stop)}")
        return self

    @property
    def form(self) -> Form:
        """The template as a form of plain text."""
        after_code = self.answer.removeprefix("{code}").format().strip()
        return Form(
            query=self.query,
            shot=self.query + self.answer + "\n\n" if self.shot is None else self.shot,
            answer=self.answer,
            stop=self.stop or ((after_code,) if after_code else None),
            starter="placed" if "{starter_code}" in self.query else "below",
        )


def check_placeholders(name: str, text: str, known: Sequence[str], needed: Iterable[str]) -> None:
    """Raise ValueError where a text of a template has other placeholders than `known`, or lacks one that is needed."""
    parts = template_parts(name, text)
    found = [field for _, field, _, _ in parts if field is not None]
    names = ", ".join(f"{{{each}}}" for each in known)
    for field in found:
        if field not in known:
            raise ValueError(f"{name} must have no other placeholders than {names} but got {{{field}}}"
                             f"{nearest(field, known)}; literal braces are doubled")  # fmt: skip
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise ValueError(f"{name} must have plain placeholders, without : or !, but got {text!r}")
    if lacking := [each for each in needed if each not in found]:
        raise ValueError(f"{name} must have the placeholder {{{lacking[0]}}} but got {text!r}")


def read_template(value: Any) -> Any:
    """The value of `prompt_template`, checked: a string for the query alone, or a mapping; null is left as it is.

    Also the JSON text of a mapping, as it stands in a row of the results. Raises ValueError that says what is wrong.
    """
    mapping = _json_mapping(value) if isinstance(value, str) else value
    if value is None or isinstance(mapping, PromptTemplate):
        return mapping
    if mapping is None:
        _made({"query": value})
        return value
    if not isinstance(mapping, dict):
        raise ValueError(f"must be a text with {{nl}}, or a mapping of query, shot, answer and stop, but got "
                         f"{described(value)}")  # fmt: skip
    if unknown := [each for each in mapping if each not in PromptTemplate.model_fields]:
        raise ValueError(f"must be a mapping of {', '.join(PromptTemplate.model_fields)} but got {unknown[0]}"
                         f"{nearest(unknown[0], PromptTemplate.model_fields)}")  # fmt: skip
    return _made(mapping)


def _made(mapping: dict[str, Any]) -> PromptTemplate:
    try:
        return PromptTemplate(**mapping)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        if problem["type"] == "missing":
            raise ValueError(f"must have {field}, the text of the query with {{nl}}, but got none") from None
        text = problem["msg"].removeprefix("Value error, ")
        got = "" if " but got " in text else f" but got {described(problem['input'])}"
        raise ValueError(f"{field}{': ' if field else ''}{text}{got}") from None


def _json_mapping(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found else None


def chosen_form(prompt_form: PromptForm | None, template: "str | PromptTemplate | None") -> Form | None:
    """The form that a trial asks for by these two fields; None where it leaves the form to its dataset."""
    if template is None:
        return NAMED[prompt_form] if prompt_form else None
    form = (PromptTemplate(query=template) if isinstance(template, str) else template).form
    return replace(form, chat=prompt_form == "chat")


def as_text(template: "str | PromptTemplate | None") -> str | None:
    """A template as its column holds it: a mapping as JSON text, without the fields at their default."""
    if isinstance(template, PromptTemplate):
        return json.dumps(template.model_dump(exclude_defaults=True), ensure_ascii=False)
    return template
