"""The type of every setting. Made from the rows in `core/config` by `make docs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal


class SettingTypes:
    """What Settings holds; the rows of SETTINGS say what each is for."""

    prompt: str
    reads_stdin: bool
    environment: Mapping[str, str]
    providers: Mapping[str, Any]
    given: frozenset[str]
    flags: frozenset[str]
    notices: Sequence[str]
    file: Mapping[str, Any]

    model: str | None
    provider: str | None
    base_url: str | None
    ollama_host: str | None
    system: str | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    max_tokens: int | None
    stop: tuple[str, ...]
    think: Literal["on", "off", "low", "medium", "high", "max"] | None
    num_ctx: int | None
    keep_alive: str | None
    option: Mapping[str, object]
    response_format: str | None
    modelfile: str | None
    agent: str | None
    list_providers: bool
    list_models: bool
    check: bool
    pull: str | None
    set_key: str | None
    alias: Mapping[str, object]
    pools: Mapping[str, object]
    agents: Mapping[str, object]
    list_agents: bool
    api_version: str | None
    max_cost: float | None
    max_cost_day: float | None
    max_cost_month: float | None
    mask: bool
    mask_names: tuple[str, ...]
    json: bool
    template: str | None
    extract: str | None
    show_thinking: bool
    notify: Literal["off", "bell", "osc9", "osc777"]
    plain_screen: bool
    markdown: bool
    color: Literal["auto", "always", "never"]
    theme: Literal["auto", "dark", "light", "mono"]
    status: bool
    title: bool
    show_pictures: bool
    picture_protocol: Literal["auto", "kitty", "iterm2", "sixel"]
    silence_notice: float
    usage: bool
    clipboard: Literal["program", "osc52"]
    dest: str | None
    editing_mode: Literal["emacs", "vi"]
    input_history: bool
    continue_: bool
    session: str | None
    select_session: bool
    list_sessions: bool
    search: str | None
    limit: int
    stats: bool
    since: str | None
    export_session: str | None
    export_all: bool
    export_found: str | None
    import_file: str | None
    from_: Literal[
        "stream-chat", "chatgpt", "claude", "llm", "openwebui", "librechat", "aichat", "oterm",
        "ollama", "conversations"] | None
    format: Literal["json", "jsonl", "html", "csv", "text", "markdown", "sql"]
    output: str | None
    force: bool
    csv_raw: bool
    retry: bool
    edit: int | None
    undo: bool
    redo: bool
    branches: bool
    branch: int | None
    fork: bool
    at: int | None
    rename: str | None
    tag: tuple[str, ...]
    pin_session: bool
    unpin_session: bool
    archive: bool
    unarchive: bool
    delete_session: str | None
    forever: bool
    undelete: str | None
    prune: str | None
    shelf: Literal["open", "archived", "trash"]
    yes: bool
    save: bool
    persist_to_db: bool
    database_url: str | None
    db_check: bool
    db_repair: bool
    db_backup: bool
    db_restore: str | None
    db_move: str | None
    db_shrink: bool
    share: tuple[str, ...]
    unshare: tuple[str, ...]
    user: str | None
    db_init: bool
    member: tuple[str, ...]
    server: tuple[str, ...]
    experimental: bool
    experimental_websearch: bool
    tools: tuple[str, ...]
    tools_file: tuple[str, ...]
    allow: tuple[str, ...]
    searxng_url: str | None
    search_engines: tuple[str, ...]
    databases: Mapping[str, object]
    local_hosts: tuple[str, ...]
    mcp: bool
    mcp_servers: Mapping[str, object]
    mcp_config: str | None
    tool_rounds: int
    context: tuple[str, ...]
    context_optional: bool
    context_grep: tuple[str, ...]
    check_quotes: bool
    count: tuple[str, ...]
    embedding_model: str | None
    auto_compact: bool
    web: bool
    port: int
    open: bool
    team: bool
    host: str
    public_url: str | None
    trusted_proxies: tuple[str, ...]
    listen_url: str | None
    user_header: str | None
    oidc_issuer: str | None
    oidc_client: str | None
    oidc_name: str
    oidc_domains: tuple[str, ...]
    oidc_groups: tuple[str, ...]
    oidc_new_users: bool
    tls_cert: str | None
    tls_key: str | None
    user_rate: int
    drain_seconds: int
    add_user: str | None
    remove_user: str | None
    list_users: bool
    model_fallbacks: tuple[str, ...]
    fallbacks: Mapping[str, object]
    fallback_on_auth: bool
    local_only: bool
    resume: bool
    stop_repetition: bool
    retry_max_attempts: int
    retry_initial_delay: float
    retry_max_delay: float
    retry_multiplier: float
    retry_jitter: float
    connect_timeout: float
    first_byte_timeout: float | None
    idle_timeout: float
    engine: str | None
    engine_threads: int | None
    engine_idle: float
    self_test: bool
    demo_delay: float | None
    config: str | None
    debug: str | None
    completion: Literal["bash", "zsh", "fish"] | None
    widget: Literal["bash", "zsh", "fish"] | None
    help: str | None
    version: bool
