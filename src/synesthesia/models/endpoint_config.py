"""File of an endpoint: the "checkpoint" of an entry of family `endpoint`, which its answers depend on as on weights.

    url: http://127.0.0.1:8000/v1            # /chat/completions is appended
    model: Qwen/Qwen2.5-Omni-7B
    api_key_variable: VLLM_API_KEY           # the NAME of an environment variable; null: no key
    concurrency: 8                           # requests in flight
    requests_per_minute: 600                 # null: no limit
    timeout_seconds: 60.0                    # per request
    attempts: 6
    max_tokens: 16                           # raise it for models that think before they answer
    top_logprobs: 20                         # 0: request none, parse letters from the text
    frames_as: images                        # or `video`: one MP4 as video_url, where the server takes it
    extra: {max_completion_tokens: 16, max_tokens: null}   # added to each request; null removes a key

Servers that only stream are asked with `extra: {stream: true}`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from synesthesia.config import PositiveFloat, PositiveInt, StrictModel
from synesthesia.models.errors import ModelError
from synesthesia.utils import yaml_file


class EndpointConfig(StrictModel):
    """Schema of the endpoint's file; the module docstring describes the keys."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]")]
    model: str
    api_key_variable: str | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 4
    requests_per_minute: PositiveFloat | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    attempts: Annotated[int, Field(ge=1, le=1000)] = 6
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 20
    max_tokens: PositiveInt = 16
    frames_as: Literal["images", "video"] = "images"
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_extra(self) -> Self:
        try:
            json.dumps(self.extra, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"extra: cannot be sent as JSON ({error})") from None
        return self

    @classmethod
    def load(cls, path: str) -> EndpointConfig:
        """Read an endpoint's file.

        Args:
            path: The file.

        Returns:
            Its content.

        Raises:
            ModelError: The file cannot be used; the message names the key.
        """
        try:
            return cls.model_validate(yaml_file.load(path))
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file; models/endpoint_config.py describes its keys") from None
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
        except yaml_file.YamlFileError as error:
            raise ModelError(f"{path}: {error}") from None
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise ModelError(f"{path}: {details}") from None
