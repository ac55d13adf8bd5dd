import type { FileFacts, HelloResponse, OpenedFile, UploadedFile } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { Calls } from './calls.js';
import { filesOfVersion1 } from './filesOfVersion1.js';
import { filesOfVersion2 } from './filesOfVersion2.js';
import type { AgentAddress, CallOptions } from './gateway.js';

/** Something in a server's folder. */
export interface FileTarget {
  serverId: string;
  /** Relative to the server's folder, tidied; empty = the folder itself. */
  path: string;
  /** The folder of the host that holds those of the servers; only agents of version 1 need to be told. */
  workDir: string | null;
}

export interface ByteRange {
  /** Negative: so many bytes before the end. */
  offset: number;
  /** 0 = to the end. */
  length: number;
}

export interface Download {
  opened: OpenedFile;
  /** Exactly `opened.length` bytes, or it throws. Iterate it, or call `return()`: the call is open until then. */
  content: Required<Pick<AsyncIterableIterator<Uint8Array>, 'next' | 'return'>> & AsyncIterable<Uint8Array>;
}

export interface UploadRules {
  /** What must be there; else `precondition-failed`. */
  expected: 'anything' | 'nothing' | { etag: string };
  createFolders: boolean;
}

/**
 * Users' files. Rejects with `file-not-found`, `invalid-path`, `not-installed`, and like every call. Bytes move at the
 * pace of the slower side, for as long as they move; `deadlineMs` counts for calls that move none. An agent of version 1
 * takes and gives files of up to 8 MiB in one piece, and all but listing, reading and writing is `agent-unsupported`.
 */
export interface AgentFiles {
  /** By name; `folder-too-large` above 10,000 entries. */
  list(agent: AgentAddress, folder: FileTarget, options?: CallOptions): Promise<FileFacts[]>;
  download(agent: AgentAddress, file: FileTarget, range: ByteRange, options?: CallOptions): Promise<Download>;
  /** The file is the new one in one step, or what it was. `content` is closed in any case. */
  upload(
    agent: AgentAddress,
    file: FileTarget,
    rules: UploadRules,
    content: AsyncIterable<Uint8Array>,
    options?: CallOptions,
  ): Promise<UploadedFile>;
  /** A folder with all that is in it. */
  remove(agent: AgentAddress, file: FileTarget, options?: CallOptions): Promise<void>;
  /** With those above it. */
  makeFolder(agent: AgentAddress, folder: FileTarget, options?: CallOptions): Promise<FileFacts>;
  /** Never over something else: `file-exists`. */
  rename(agent: AgentAddress, file: FileTarget, to: string, options?: CallOptions): Promise<FileFacts>;
}

type Hello = (agent: AgentAddress, options: CallOptions) => Promise<HelloResponse>;

/** So long an agent that was upgraded is spoken to as before. */
const REMEMBERED_MS = 60_000;
const REMEMBERED_MAX = 4096;

/** Speaks to each agent as it can, which it is asked once a minute. */
export function createAgentFiles(
  calls: Calls,
  hello: Hello,
): AgentFiles & { forget: (agentId: string) => void } {
  const modern = filesOfVersion2(calls);
  const old = filesOfVersion1(calls);
  /** Oldest first; entries go by forget, age or beyond the bound. */
  const known = new Map<string, { at: number; files: AgentFiles }>();

  async function filesOf(agent: AgentAddress, options: CallOptions): Promise<AgentFiles> {
    const found = known.get(agent.id);
    if (found && performance.now() - found.at < REMEMBERED_MS) return found.files;
    const files = (await can(agent, options)) ? modern : old;
    known.delete(agent.id);
    known.set(agent.id, { at: performance.now(), files });
    const [oldest] = known.keys();
    if (known.size > REMEMBERED_MAX && oldest !== undefined) known.delete(oldest);
    return files;
  }

  async function can(agent: AgentAddress, options: CallOptions): Promise<boolean> {
    try {
      return (await hello(agent, options)).capabilities.includes('files');
    } catch (error) {
      if (error instanceof AppError && error.code === 'agent-unsupported') return false;
      throw error;
    }
  }

  return {
    list: async (agent, folder, options = {}) => (await filesOf(agent, options)).list(agent, folder, options),
    download: async (agent, file, range, options = {}) =>
      (await filesOf(agent, options)).download(agent, file, range, options),
    upload: async (agent, file, rules, content, options = {}) =>
      (await filesOf(agent, options)).upload(agent, file, rules, content, options),
    remove: async (agent, file, options = {}) => (await filesOf(agent, options)).remove(agent, file, options),
    makeFolder: async (agent, folder, options = {}) =>
      (await filesOf(agent, options)).makeFolder(agent, folder, options),
    rename: async (agent, file, to, options = {}) =>
      (await filesOf(agent, options)).rename(agent, file, to, options),
    forget: agentId => known.delete(agentId),
  };
}
