import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServerSettings } from '#proto/gen/agent.js';
import { AgentError, isMissing } from '../errors.js';
import { writeFileDurably } from '../files.js';
import { setProperties } from '../serverProperties.js';

/**
 * Writes what the control plane owns of eula.txt and server.properties into a server's folder, and nothing when it is
 * there already. eula.txt is written only for an accepted EULA, and never taken back.
 */
export async function applySettings(folder: string, settings: ServerSettings): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (settings.eulaAccepted && !(await eulaIsAccepted(folder)))
    await writeFileDurably(join(folder, 'eula.txt'), 'eula=true\n');
  const properties: Record<string, string> = {};
  if (settings.port > 0) properties['server-port'] = String(settings.port);
  if (settings.maxPlayers > 0) properties['max-players'] = String(settings.maxPlayers);
  await updateFile(join(folder, 'server.properties'), text => setProperties(text, properties));
}

export async function eulaIsAccepted(folder: string): Promise<boolean> {
  try {
    return /^[ \t]*eula[ \t]*[=:][ \t]*true[ \t]*$/im.test(
      await readFile(join(folder, 'eula.txt'), 'latin1'),
    );
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** latin1 maps each byte to one character and back, so whatever encoding the operator's lines have survives. */
async function updateFile(path: string, update: (text: string) => string): Promise<void> {
  let before = '';
  let mode = 0o644;
  try {
    before = await readFile(path, 'latin1');
    mode = (await stat(path)).mode & 0o777;
  } catch (error) {
    if (!isMissing(error))
      throw new AgentError('agent-failed', 'server.properties can’t be read', { cause: error });
  }
  const after = update(before);
  if (after !== before) await writeFileDurably(path, Buffer.from(after, 'latin1'), mode);
}
