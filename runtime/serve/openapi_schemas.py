"""Shapes of bodies and answers, for the OpenAPI description."""

from dataclasses import dataclass
from typing import Any

from embedge.models.space import TASKS
from embedge.runtime.serve.json_body import MAX_DIM
from embedge.runtime.serve.own_shapes import KINDS, MAX_HITS, SEARCH_MODES

Schema = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What the model allows; without a model, what any model may allow."""

    dim: int = MAX_DIM
    vocabulary: int = 1 << 31
    least_tokens: int = 16
    max_tokens: int = 1 << 20


MEANING = {
    400: "The body is not JSON, or a field is missing or wrong.",
    404: "No such model here.",
    408: "The body did not arrive in time.",
    409: "The index holds vectors of another model.",
    413: "The body is too large.",
    422: "A field is missing or wrong, or a text is too long.",
    424: "The model failed.",
    429: "Too much waits; Retry-After says when to come back.",
    500: "The server failed.",
    503: "Loading, stopping, or waited too long.",
}

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_TEXT: Schema = {"type": "string", "minLength": 1}
_VECTOR: Schema = {"type": "array", "items": {"type": "number"}}
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}


def ref(name: str) -> Schema:
    """Point to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str, **properties: Schema) -> Schema:
    """Return the schema of an object; `required` lists names between spaces."""
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = required.split()
    return found


def _closed(required: str, **properties: Schema) -> Schema:
    return _object(required, **properties) | {"additionalProperties": False}


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _some(schema: Schema) -> Schema:
    """One, or a list of at least one."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


_TASK = _optional({"type": "string", "enum": [*TASKS, "passage"]})
_FLAG = _optional(_BOOLEAN)
_DIRECTION = _optional({"type": "string", "enum": ["right", "left", "Right", "Left"]})


def named(limits: Limits) -> dict[str, Schema]:
    """Return every schema by its name."""
    return _openai(limits) | _ollama(limits) | _tei(limits) | _own(limits)


def _size(least: int, most: int) -> Schema:
    return _optional({"type": "integer", "minimum": least, "maximum": most})


def _openai(limits: Limits) -> dict[str, Schema]:
    model = _object(
        "id object created owned_by",
        id=_STRING, object={"const": "model"}, created=_INTEGER, owned_by=_STRING,
    )  # fmt: skip
    item = _object(
        "object index embedding",
        object={"const": "embedding"}, index=_INTEGER, embedding={"anyOf": [_VECTOR, _STRING]},
    )  # fmt: skip
    error = _object(
        "message type param code",
        message=_STRING, type=_STRING, param=_optional(_STRING), code=_STRING,
    )  # fmt: skip
    return {
        "OpenAIRequest": _object(
            "input",
            input=_some(_TEXT),
            model=_optional(_STRING),
            dimensions=_size(1, limits.dim),
            encoding_format=_optional({"type": "string", "enum": ["float", "base64"]}),
            user=_optional(_STRING),
            task=_TASK,
            include_info=_FLAG,
        ),
        "OpenAIAnswer": _object(
            "object data model usage",
            object={"const": "list"},
            data={"type": "array", "items": item},
            model=_STRING,
            usage=_object("prompt_tokens total_tokens", prompt_tokens=_INTEGER,
                          total_tokens=_INTEGER),
            x_embed={"type": "object"},
        ),
        "OpenAIModel": model,
        "OpenAIModels": _object(
            "object data", object={"const": "list"}, data={"type": "array", "items": model}
        ),
        "OpenAIError": _object("error", error=error),
    }  # fmt: skip


def _ollama(limits: Limits) -> dict[str, Schema]:
    ignored = {
        "options": _optional({"type": "object"}),
        "keep_alive": {},
    }
    details = _object(
        "format family parameter_size quantization_level",
        format=_STRING, family=_STRING, parameter_size=_STRING, quantization_level=_STRING,
    )  # fmt: skip
    return {
        "OllamaRequest": _object(
            "model",
            model=_STRING,
            input=_optional({"anyOf": [_STRING, _STRINGS]}),
            truncate=_FLAG,
            dimensions=_size(0, limits.dim),
            **ignored,
        ),
        "OllamaAnswer": _object(
            "model embeddings",
            model=_STRING,
            embeddings={"type": "array", "items": _VECTOR},
            total_duration=_INTEGER,
            load_duration=_INTEGER,
            prompt_eval_count=_INTEGER,
        ),
        "OllamaPrompt": _object("model", model=_STRING, prompt=_optional(_STRING), **ignored),
        "OllamaVector": _object("embedding", embedding=_VECTOR),
        "OllamaName": _object("model", model=_STRING),
        "OllamaModel": _object("details model_info capabilities", details=details),
        "OllamaModels": _object(
            "models",
            models={
                "type": "array",
                "items": _object("name model size digest details", details=details),
            },
        ),
        "OllamaVersion": _object("version", version=_STRING),
        "OllamaError": _object("error", error=_STRING),
    }


def _tei(limits: Limits) -> dict[str, Schema]:
    treatment = {"truncate": _FLAG, "truncation_direction": _DIRECTION}
    prompt = {"prompt_name": _TASK}
    pair = _object(
        "source_sentence sentences",
        source_sentence=_TEXT, sentences={"type": "array", "items": _TEXT, "minItems": 1},
    )  # fmt: skip
    token = _object(
        "id text special start stop",
        id=_INTEGER, text=_STRING, special=_BOOLEAN,
        start=_optional(_INTEGER), stop=_optional(_INTEGER),
    )  # fmt: skip
    ids: Schema = {
        "type": "array", "minItems": 1, 
        "items": {"type": "integer", "minimum": 0, "maximum": limits.vocabulary - 1},
    }  # fmt: skip
    return {
        "TeiRequest": _object(
            "inputs",
            inputs=_some(_TEXT),
            normalize=_FLAG,
            dimensions=_size(1, limits.dim),
            **prompt,
            **treatment,
        ),
        "TeiVectors": {"type": "array", "items": _VECTOR},
        "TeiSimilarity": _object(
            "inputs", inputs=pair, parameters=_optional(_object("", **prompt, **treatment))
        ),
        "Numbers": _VECTOR,
        "TeiTokenize": _object("inputs", inputs=_some(_TEXT), add_special_tokens=_FLAG, **prompt),
        "TeiTokens": {"type": "array", "items": {"type": "array", "items": token}},
        "TeiDecode": _object(
            "ids",
            ids={"anyOf": [ids, {"type": "array", "items": ids, "minItems": 1}]},
            skip_special_tokens=_FLAG,
        ),
        "Strings": _STRINGS,
        "TeiInfo": _object("model_id max_input_length auto_truncate version"),
        "TeiError": _object("error error_type", error=_STRING, error_type=_STRING),
    }


def _own(limits: Limits) -> dict[str, Schema]:
    chunk = _object(
        "text char_start char_end line_start line_end heading n_tokens",
        text=_STRING, char_start=_INTEGER, char_end=_INTEGER, line_start=_INTEGER,
        line_end=_INTEGER, heading=_optional(_STRING), n_tokens=_INTEGER,
    )  # fmt: skip
    return {
        "SearchRequest": _closed(
            "query",
            query=_STRING,
            limit=_size(1, MAX_HITS),
            mode=_optional({"type": "string", "enum": list(SEARCH_MODES)}),
            collections=_optional(_STRINGS),
            min_score=_optional(_NUMBER),
            path=_optional(_STRING),
            explain=_FLAG,
        ),
        "SearchAnswer": _object(
            "hits space took_ms",
            hits={"type": "array", "items": {"type": "object"}}, space=_STRING, took_ms=_NUMBER,
        ),
        "ChunkRequest": _closed(
            "text",
            text=_STRING,
            max_tokens=_size(limits.least_tokens, limits.max_tokens),
            overlap=_size(0, limits.max_tokens),
            kind=_optional({"type": "string", "enum": list(KINDS)}),
        ),
        "ChunkAnswer": _object("chunks", chunks={"type": "array", "items": chunk}),
        "Status": _object("status", status=_STRING),
        "Anything": {"type": "object"},
    }  # fmt: skip
