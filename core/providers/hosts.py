"""The known hosts as rows of data: address, dialect, key variables and quirks.

Quirks are what an OpenAI-compatible host does differently; core/providers/openai.py reads them
(defaults in brackets):

    auth             header that carries the key: bearer,
                     api-key                            [bearer]
    api_version      value of the api-version query parameter                                [none]
    deployments      the model is a part of the path, as in Azure                            [False]
    close            ask for the connection to be closed after each answer                   [False]
    max_tokens       name of the parameter that bounds the answer
                     [max_tokens]
    stream_options   ask for usage with stream_options.include_usage                         [True]
    thinking_back    field in which reasoning goes back: in this turn and those with calls   [none]
    thinking_needed  that field must stand in every reply that called tools                  [False]
    think            how thinking is asked for: effort, reasoning, template,
                     type, none      [effort]
    tools_effort     effort that newer GPT models need in this dialect to call
                     tools         [none is sent]
    lowest_effort    effort for --think off where gpt-oss cannot be kept from thinking       [none]
    arguments        json: arguments of a call that are no JSON go back wrapped as
                     JSON      [as they came]
    models_path      a list of models that says more, where the server is new enough         [none]
    replays          keeps an answer while it writes it, as llama.cpp's server does          [False]
    progress         says how far it has read the prompt, when asked                         [False]
    cache_models     beginning of models whose prompt cache is asked for, from
                     the second turn on [none]
    count            how the server counts tokens: llamacpp, vllm
                     [it does not]
    check_path       a path that needs a valid key, when the model list is
                     public            [/models]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core.dataclass import dataclass, field

Kind = Literal["local", "cloud", "hybrid"]


@dataclass(frozen=True, slots=True)
class Host:
    """One row.

    `base_url` includes the version prefix, so that a dialect only appends; empty means that the
    user must give it. An empty `default_model` means the first one of the host's own list.
    """

    name: str
    dialect: str
    kind: Kind
    base_url: str
    key_variables: tuple[str, ...] = ()
    default_model: str = ""
    aliases: tuple[str, ...] = ()
    quirks: Mapping[str, Any] = field(default_factory=dict)
    server: bool = True  # False: it runs inside this program and needs neither address nor key
    key_origins: tuple[str, ...] = ()      # further addresses that its key may be sent to
    address_setting: str = ""  # the setting with its address when nothing else gives one
    # name endings of its models that run on its maker's servers
    cloud_names: tuple[str, ...] = ()
    # a model's name shows its capabilities if nothing else does
    family_names: bool = True
    priced_as: str = ""                    # the provider whose prices apply
    maker: bool = False  # it serves its own models, so a model's name identifies it
    looked_for: bool = False  # listed and checked even if the user did not set it up
    v1_dialect: str = ""                   # its dialect at an address ending in /v1
    model_files: str = ""                  # file ending of the models that it runs
    # quirks set by settings: quirk -> setting
    own_settings: Mapping[str, str] = field(default_factory=dict)
    shown: bool = True  # show its name before its models' even where space is short
    first_model: str = ""                  # suggested first download when it has no models
    offered: bool = False                  # offered to users even if not set up
    title: str = ""                        # its name as its maker writes it, if different


DEFAULT_PROVIDER = "ollama"     # searched for models named without a provider
EMBEDDED = "local"              # the engine that comes with the program
DEMO = "demo"                   # used when no other provider is available

_HOSTS: tuple[Host, ...] = (
    #    name                dialect             kind      base_url
    Host("ollama",           "ollama",           "hybrid", "http://127.0.0.1:11434",
         ("OLLAMA_API_KEY",),
         key_origins=("https://ollama.com",), address_setting="ollama_host", v1_dialect="openai",
         cloud_names=("-cloud", ":cloud"), family_names=False, looked_for=True, shown=False,
         first_model="llama3.2", title="Ollama"),
    Host("demo",             "demo",             "local",  "",                         (), "demo",
         server=False,
         family_names=False, own_settings={"delay": "demo_delay"}, title="Demo"),
    Host("local",            "local",            "local",  "",                         (), "", (),
         {"close": True, "arguments": "json"}, server=False, family_names=False,
         model_files=".gguf", shown=False,
         own_settings={"engine": "engine", "threads": "engine_threads", "idle": "engine_idle",
                       "environment": "environment"}, first_model="qwen3.5-0.8b",
         title="Built in (llama.cpp)", offered=True),
    Host("openai",           "openai",           "cloud",  "https://api.openai.com/v1",
         ("OPENAI_API_KEY",), "gpt-6-luna",
         ("chatgpt",), {"max_tokens": "max_completion_tokens", "tools_effort": "none"}, maker=True,
         offered=True, title="OpenAI"),
    Host("openai-responses", "openai-responses", "cloud",  "https://api.openai.com/v1",
         ("OPENAI_API_KEY",), "gpt-6-luna",
         ("responses",), priced_as="openai", title="OpenAI (Responses)"),
    Host("anthropic",        "anthropic",        "cloud",  "https://api.anthropic.com",
         ("ANTHROPIC_API_KEY",), "claude-haiku-4-5",
         ("claude",), maker=True, offered=True, title="Anthropic"),
    Host("gemini",           "gemini",           "cloud",
         "https://generativelanguage.googleapis.com/v1beta",
         ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-3.5-flash-lite", ("google",), maker=True,
         offered=True, title="Google Gemini"),
    Host("cohere",           "cohere",           "cloud",  "https://api.cohere.com",
         ("COHERE_API_KEY", "CO_API_KEY"),
         "command-a-03-2025", maker=True, title="Cohere"),
    Host("mistral",          "mistral",          "cloud",  "https://api.mistral.ai/v1",
         ("MISTRAL_API_KEY",),
         "mistral-small-latest", maker=True, title="Mistral"),
    Host("cborg",            "openai",           "cloud",  "https://api.cborg.lbl.gov",
         ("CBORG_API_KEY",),
         "lbl/cborg-coder:latest", title="CBORG"),
    Host("groq",             "openai",           "cloud",  "https://api.groq.com/openai/v1",
         ("GROQ_API_KEY",),
         "openai/gpt-oss-120b", (), {"arguments": "json", "lowest_effort": "low"}, title="Groq"),
    Host("deepseek",         "openai",           "cloud",  "https://api.deepseek.com",
         ("DEEPSEEK_API_KEY",), "deepseek-flash",
         (), {"think": "type", "thinking_back": "reasoning_content", "thinking_needed": True},
         title="DeepSeek"),
    Host("huggingface",      "openai",           "cloud",  "https://router.huggingface.co/v1",
         ("HF_TOKEN", "HUGGINGFACE_API_KEY"), "openai/gpt-oss-20b", ("hf",), {"arguments": "json"},
         title="Hugging Face"),
    Host("openrouter",       "openai",           "cloud",  "https://openrouter.ai/api/v1",
         ("OPENROUTER_API_KEY",),
         "openrouter/auto", (),
         {"think": "reasoning", "check_path": "/key", "cache_models": "anthropic/"},
         title="OpenRouter"),
    Host("xai",              "openai",           "cloud",  "https://api.x.ai/v1",
         ("XAI_API_KEY",), "grok-4.3", ("grok",), title="xAI"),
    Host("together",         "openai",           "cloud",  "https://api.together.xyz/v1",
         ("TOGETHER_API_KEY",),
         "meta-llama/Llama-3.3-70B-Instruct-Turbo", (), {"arguments": "json"}, title="Together"),
    Host("azure",            "openai",           "cloud",  "",
         ("AZURE_OPENAI_API_KEY",), "",
         ("azure-openai",),
         {"auth": "api-key", "api_version": "2024-12-01-preview", "deployments": True,
          "max_tokens": "max_completion_tokens"}, title="Azure OpenAI"),
    Host("localai",          "openai",           "local",  "http://127.0.0.1:8080/v1",
         ("LOCALAI_API_KEY",), "", (),
         {"models_path": "/models/capabilities"}, title="LocalAI"),
    Host("llamacpp",         "openai",           "local",  "http://127.0.0.1:8080/v1",
         ("LLAMA_API_KEY",), "",
         ("llama.cpp", "llama-cpp"),
         {"close": True, "think": "template", "thinking_back": "reasoning_content",
          "arguments": "json",
          "count": "llamacpp", "replays": True,
          "progress": True}, title="llama.cpp"),
    Host("vllm",             "openai",           "local",  "http://127.0.0.1:8000/v1",
         ("VLLM_API_KEY",), "", (),
         {"think": "template", "arguments": "json", "count": "vllm"}, title="vLLM"),
    Host("lmstudio",         "openai",           "local",  "http://127.0.0.1:1234/v1",
         ("LM_API_TOKEN",), "", ("lm-studio",),
         {"arguments": "json"}, title="LM Studio", offered=True),
    Host("litellm",          "openai",           "hybrid", "http://127.0.0.1:4000/v1",
         ("LITELLM_API_KEY",), title="LiteLLM"),
    Host("stream-chat",      "openai",           "hybrid", "http://127.0.0.1:8421/v1",
         ("STREAM_CHAT_SERVER_KEY",), "", (),
         {"replays": True}, title="Stream Chat"),
    Host("custom",           "openai",           "hybrid", "",
         ("CUSTOM_API_KEY",), "",
         ("openai-compatible",), title="Custom"),
)
_BY_NAME: Mapping[str, Host] = {name: host for host in _HOSTS
                                for name in (host.name, *host.aliases)}


def find_host(name: str) -> Host | None:
    """Return the row with this name or alias, or None."""
    return _BY_NAME.get(name.strip().lower())


def host_of_file(path: str) -> Host | None:
    """Return the row that runs model files with this ending, or None."""
    return next((host for host in _HOSTS if host.model_files and path.endswith(host.model_files)),
                None)


def row_of_dialect(dialect: str) -> Host | None:
    """Return the row that a dialect is named after, or None."""
    return next((host for host in _HOSTS if host.name == host.dialect == dialect), None)


def title_of(name: str) -> str:
    """Return a provider's name as its maker writes it."""
    host = find_host(name)
    return host.title or host.name if host else name


def hosts() -> tuple[Host, ...]:
    return _HOSTS
