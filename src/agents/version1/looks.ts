import { AgentServiceService, type FileInfo, type ServerInfo, type WorkKey } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { parseConsoleLine } from '#src/domain/consoleLine.js';
import type { Calls } from '../calls.js';
import { saysMissing } from '../errors.js';
import type { AgentAddress, CallOptions } from '../gateway.js';

const RUN_ID = /^[0-9a-f]{8}-[0-9a-f-]{27}\/[\x21-\x7e]{1,60}$/;
const JAR_FILE = 'server.jar';
const READY = /^Done \(\d+[.,]\d+s\)! For help, type "help"/;
const STOPPING = /^(?:Stopping (?:the )?server|Closing Server)$/;

/** What can be found out about servers of an agent of version 1, by looking at it. Nothing here changes anything. */
export class Looks {
  constructor(private readonly calls: Calls) {}

  async listed(agent: AgentAddress, options: CallOptions): Promise<ServerInfo[]> {
    const method = AgentServiceService.listServers;
    return (await this.calls.unary({ agent, method, request: {}, options })).servers;
  }

  /** Undefined for one that the agent does not list. It lists those that run, and those that have crashed. */
  async find(agent: AgentAddress, serverId: string, options: CallOptions): Promise<ServerInfo | undefined> {
    try {
      const method = AgentServiceService.getServer;
      const found = await this.calls.unary({ agent, method, request: { serverId }, options });
      return found.id === serverId ? found : undefined;
    } catch (error) {
      if (saysUnknown(error)) return undefined;
      throw error;
    }
  }

  /** Ids of the servers that have a folder below the agent's `work_dir`. */
  async folders(agent: AgentAddress, options: CallOptions): Promise<string[]> {
    const entries = await this.#entries(agent, workDirOf(agent), options);
    return entries.filter(({ name, isDir }) => isDir && SERVER_ID.test(name)).map(({ name }) => name);
  }

  /** Bytes of the server's jar; 0 = there is none. */
  async jarBytes(agent: AgentAddress, serverId: string, options: CallOptions): Promise<number> {
    const entries = await this.#entries(agent, folderOf(agent, serverId), options);
    return entries.find(({ name, isDir }) => name === JAR_FILE && !isDir)?.size ?? 0;
  }

  /** What the present run has written into `logs/latest.log`; undefined: nothing yet, or more than fits into a message. */
  async log(agent: AgentAddress, run: ServerInfo, options: CallOptions): Promise<string[] | undefined> {
    const path = `${folderOf(agent, run.id)}/logs/latest.log`;
    const request = { path, offset: 0, length: 0 };
    try {
      const method = AgentServiceService.readFile;
      const { content, modifiedTime } = await this.calls.unary({ agent, method, request, options });
      // An older file is the run before's: both times are of the agent's clock, in seconds.
      if (modifiedTime < run.startTime) return undefined;
      return Buffer.from(content).toString().split('\n');
    } catch (error) {
      if (error instanceof AppError && (error.code === 'agent-failed' || error.code === 'not-found')) {
        return undefined;
      }
      throw error;
    }
  }

  async #entries(agent: AgentAddress, path: string, options: CallOptions): Promise<FileInfo[]> {
    try {
      const method = AgentServiceService.listFiles;
      return (await this.calls.unary({ agent, method, request: { path, recursive: false }, options })).files;
    } catch (error) {
      if (saysUnknown(error)) return [];
      throw error;
    }
  }
}

const SERVER_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The name of a run is the step that started it, as with other agents. It travels as the server's name, the one text that
 * these agents keep and give back; of what others have started it is the time of the start.
 */
export function runIdOf({ name, startTime }: ServerInfo): string {
  return RUN_ID.test(name) ? name : `v1/${startTime}`;
}

export function runIdFor({ opId, step }: WorkKey): string {
  return `${opId}/${step}`;
}

export function saysReady(line: string): boolean {
  const { prefixed, message } = parseConsoleLine(line);
  return prefixed && READY.test(message);
}

/** Its process was told to end, by whomever: an end after this is no crash. */
export function saysStopping(line: string): boolean {
  const { prefixed, message } = parseConsoleLine(line);
  return prefixed && STOPPING.test(message);
}

/** They say it in prose, or with the status. */
export function saysUnknown(error: unknown): boolean {
  return error instanceof AppError && (error.code === 'not-found' || saysMissing(error));
}

/** Rejects with `agent-unsupported` when the agent's row does not say where its servers' folders are. */
export function workDirOf({ work_dir }: AgentAddress): string {
  if (!work_dir) {
    throw new AppError('agent-unsupported', {
      detail: 'The agent is of version 1: set its work_dir, the folder of the host that holds its servers',
    });
  }
  return work_dir.replace(/(?<=.)\/+$/, '');
}

export function folderOf(agent: AgentAddress, serverId: string): string {
  return `${workDirOf(agent)}/${serverId}`;
}
