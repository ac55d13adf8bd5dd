import { AgentServiceService, type ServerSettings } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { changeProperties } from '#src/domain/serverProperties.js';
import type { Calls } from '../calls.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import { folderOf, saysUnknown } from './looks.js';

/** Writes what is the control plane's in eula.txt and server.properties; again is as good as once. */
export async function applySettings(
  calls: Calls,
  agent: AgentAddress,
  serverId: string,
  settings: ServerSettings,
  options: CallOptions,
): Promise<void> {
  const folder = folderOf(agent, serverId);
  if (settings.eulaAccepted) await write(calls, agent, `${folder}/eula.txt`, 'eula=true\n', options);
  const changes = { 'server-port': String(settings.port), 'max-players': String(settings.maxPlayers) };
  const path = `${folder}/server.properties`;
  const before = await read(calls, agent, path, options);
  const after = changeProperties(before, changes);
  if (after !== before) await write(calls, agent, path, after, options);
}

/** Bytes as latin1, so that every encoding survives. */
async function read(calls: Calls, agent: AgentAddress, path: string, options: CallOptions): Promise<string> {
  const request = { path, offset: 0, length: 0 };
  try {
    const { content } = await calls.unary({ agent, method: AgentServiceService.readFile, request, options });
    return Buffer.from(content).toString('latin1');
  } catch (error) {
    if (saysUnknown(error)) return '';
    throw error;
  }
}

async function write(
  calls: Calls,
  agent: AgentAddress,
  path: string,
  text: string,
  options: CallOptions,
): Promise<void> {
  const request = { path, content: Buffer.from(text, 'latin1'), createDirs: true };
  const method = AgentServiceService.writeFile;
  const { success, message } = await calls.unary({ agent, method, request, options });
  if (!success) throw new AppError('agent-refused', { detail: `The agent did not write a file: ${message}` });
}
