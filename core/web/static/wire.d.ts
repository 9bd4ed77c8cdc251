// What the server sends: the events of a session, and the rows of its lists.
// Types only; no browser loads this file.

export type Operation =
  | ["open", string, string?]
  | ["close", string]
  | ["text", string, string[]?, string?, string?]
  | ["retag", string]
  | ["tail", string];

export interface Picture {
  media: string;
  data: string;
  name: string;
}
export interface Versions {
  at: number;
  ids: string[];
}
export interface Problem {
  kind: string;
  message: string;
  hint: string;
  /** a missing model that can be downloaded */
  pull?: string;
}

/** What is shown beside the messages. */
export interface About {
  id: string;
  title: string;
  model: string;
  saved: boolean;
  used: number | null;
  window: number | null;
  cost: number | null;
}
export interface Queued {
  key: string;
  text: string;
  files: string[];
}

export interface UserEvent {
  type: "user";
  place: number;
  text: string;
  images?: Picture[];
  files?: string[];
  key?: string;
  versions?: Versions;
}
export interface TextEvent {
  type: "text";
  raw: string;
  ops: Operation[];
}
export interface TextEnd {
  type: "text_end";
  raw?: string;
  ops: Operation[];
}
export interface ThinkingEvent {
  type: "thinking";
  text: string;
}
export interface ThinkingEnd {
  type: "thinking_end";
  seconds?: number;
}
export interface ToolEvent {
  type: "tool";
  id: string;
  name: string;
  arguments: unknown;
}
export interface ToolResult {
  type: "tool_result";
  id: string;
  text: string;
  state: "done" | "failed" | "denied";
  seconds?: number;
}
export interface AskEvent {
  type: "ask";
  ask: string;
  title: string;
  text: string;
  facts: string[];
  choices: string[];
}
export interface AnsweredEvent {
  type: "answered";
  ask: string;
  choice: string;
}
export interface WaitingEvent {
  type: "waiting";
  text: string;
  seconds: number;
}
export interface RetryEvent {
  type: "retry";
  attempt: number;
  delay: number;
  text: string;
}
/** `from`: another model goes on. */
export interface SeamEvent {
  type: "seam";
  text: string;
  from?: string;
  model?: string;
}
export interface NoticeEvent {
  type: "notice";
  level: string;
  text: string;
}
export interface MessageEnd {
  type: "message_end";
  finish: string;
  model: string;
  usage: { output_tokens?: number };
}
export interface TurnEnd extends About {
  type: "turn_end";
  state: "complete" | "stopped" | "failed" | "compared";
  error?: Problem;
}

/** What a reply draws. */
export type ReplyEvent =
  | { type: "text_start" }
  | TextEvent
  | TextEnd
  | ThinkingEvent
  | ThinkingEnd
  | ToolEvent
  | ToolResult
  | AskEvent
  | AnsweredEvent
  | WaitingEvent
  | RetryEvent
  | SeamEvent
  | NoticeEvent
  | MessageEnd
  | TurnEnd
  | { type: "usage" };

export interface TurnStart {
  type: "turn_start";
  model: string;
}
export interface Continued {
  type: "continued";
  text: string;
}
export interface CompareStart {
  type: "compare";
  question: UserEvent | null;
  models: string[];
}
export interface CompareText {
  type: "compare_text";
  side: number;
  raw: string;
  ops: Operation[];
}
export interface CompareSide {
  type: "compare_side";
  side: number;
  state: "done" | "stopped" | "failed";
  ops: Operation[];
  notes: string[];
  error: Problem | null;
  answered: boolean;
  tokens: number;
  seconds: number;
  cost: number | null;
}

/** What the conversation draws. */
export type ThreadEvent =
  | ReplyEvent
  | UserEvent
  | TurnStart
  | Continued
  | CompareStart
  | CompareText
  | CompareSide
  | { type: "reply"; place: number; versions?: Versions }
  | { type: "cut"; place: number }
  | { type: "versions"; places: Record<string, Versions> };

export interface QueueEvent {
  type: "queue";
  items: Queued[];
  held: boolean;
}

/** Everything that happens in a session. */
export type PageEvent =
  | ThreadEvent
  | QueueEvent
  | (About & { type: "session" })
  | { type: "redraw" }
  | { type: "deleted" };

// ---- lists

export interface SessionRow {
  id: string;
  title: string;
  model: string;
  updated: number;
  tags: string[];
  pinned: boolean;
  shelf: string;
  running: boolean;
  snippet?: string;
  /** The identity of the message that was found. */
  message?: string;
  marks: [number, number][];
}
export interface ModelRow {
  name: string;
  tools: boolean;
  vision: boolean;
  thinking: boolean;
  window: number | null;
  size: number | null;
  input_price: number | null;
  output_price: number | null;
  /** Whether it answers in a conversation, by what its provider says and by its name. */
  chats: boolean;
  /** Days since it was last asked. */
  used?: number;
}
export interface ProviderRow {
  name: string;
  title: string;
  kind: "local" | "cloud";
  /** Whether the page shows it without being asked to. */
  listed: boolean;
  addable: boolean;
  removable: boolean;
  state: string;
  why: string;
  said: string;
  /** Seconds since it was asked, and how long it took. */
  checked: number | null;
  ms: number | null;
  address: string;
  takes_key: boolean;
  /** Where its key is: "stored", a variable, the configuration file, or "". */
  key: string;
  models: ModelRow[];
}
export interface PullRow {
  model: string;
  state: string;
  said: string;
  percent: number | null;
}
export interface CommandRow {
  name: string;
  help: string;
  usage: string;
  completes: boolean;
  prompt: boolean;
}
export interface Imported {
  added: number;
  known: number;
  messages: number;
  notes: string[];
}
