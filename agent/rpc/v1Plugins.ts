import type { AgentServiceServer, PluginInfo, PluginResponse } from '#proto/gen/agent.js';
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, toAgentError } from '../errors.js';
import { readJarEntry } from '../jar.js';
import { parseFileName, parseServerId } from '../server/paths.js';
import type { ManagedServer } from '../server/server.js';
import type { ListedFile } from '../userFiles.js';
import { downloadFile } from '../work/download.js';
import type { RpcDeps } from './deps.js';
import { type CallContext, unary } from './handlers.js';
import { restart } from './v1Power.js';

export type Plugins = Pick<
  AgentServiceServer,
  'installPlugin' | 'uninstallPlugin' | 'updatePlugin' | 'listPlugins'
>;

const FOLDER = 'plugins';
const DISABLED = '.disabled';
const LIMIT_MS = 10 * 60_000;

/** Plugins as version 1 knows them: a jar in `plugins`, disabled when its name ends in `.jar.disabled`. */
export function version1Plugins(deps: RpcDeps): Plugins {
  return {
    listPlugins: unary(deps, async ({ serverId, includeDisabled }) => {
      const server = knownServer(deps, serverId);
      const found = (await listPlugins(deps, server)).filter(({ enabled }) => enabled || includeDisabled);
      return { plugins: found, total: found.length };
    }),

    installPlugin: unary(
      deps,
      (request, context) =>
        changing(deps, context, request, async server => {
          const fileName = jarName(request.fileName || `${request.pluginName}.jar`);
          await fetchPlugin(deps, server, request.downloadUrl, fileName, context.signal);
          return findPlugin(deps, server, fileName);
        }),
      LIMIT_MS,
    ),

    updatePlugin: unary(
      deps,
      (request, context) =>
        changing(deps, context, request, async server => {
          const old = await findPlugin(deps, server, request.pluginName);
          const fileName = jarName(request.fileName || old.fileName.replace(/\.disabled$/, ''));
          // The new one is there, whole, before the old one goes: a failed update changes nothing.
          await fetchPlugin(deps, server, request.downloadUrl, fileName, context.signal);
          if (old.fileName !== fileName) await deps.files.remove(pathOf(server, old.fileName));
          return findPlugin(deps, server, fileName);
        }),
      LIMIT_MS,
    ),

    uninstallPlugin: unary(
      deps,
      (request, context) =>
        changing(deps, context, request, async server => {
          const plugin = await findPlugin(deps, server, request.pluginName);
          await deps.files.remove(pathOf(server, plugin.fileName));
          // A plugin keeps both in the folder that bears its name.
          if (request.deleteConfig || request.deleteData) {
            await deps.files.remove(pathOf(server, parseFileName(plugin.name, 'plugin_name')));
          }
          return plugin;
        }),
      LIMIT_MS,
    ),
  };
}

/** Domain failures as version 1 tells them, and the restart that a caller may ask for with a change. */
async function changing(
  deps: RpcDeps,
  context: CallContext,
  { serverId, autoRestart }: { serverId: string; autoRestart: boolean },
  change: (server: ManagedServer) => Promise<PluginInfo>,
): Promise<PluginResponse> {
  const server = knownServer(deps, serverId);
  try {
    const plugin = await change(server);
    if (autoRestart && server.alive) {
      const restarted = await restart(deps, context, server);
      if (!restarted.success) return { success: false, message: restarted.message, plugin };
    }
    return { success: true, message: 'ok', plugin };
  } catch (error) {
    if (context.signal.aborted) throw error;
    const { code, detail } = toAgentError(error);
    return { success: false, message: `${code}: ${detail}`, plugin: undefined };
  }
}

function knownServer({ registry }: RpcDeps, serverId: string): ManagedServer {
  const server = registry.get(parseServerId(serverId));
  if (!server) throw new AgentError('not-found', 'this agent has no such server');
  return server;
}

function jarName(name: string): string {
  const fileName = parseFileName(name, 'file_name');
  if (!fileName.endsWith('.jar')) throw new AgentError('invalid-request', 'file_name must end in .jar');
  return fileName;
}

function pathOf(server: ManagedServer, fileName: string): string {
  return `${server.id}/${FOLDER}/${fileName}`;
}

async function fetchPlugin(
  { paths, files, refusesAddress }: RpcDeps,
  server: ManagedServer,
  url: string,
  fileName: string,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(paths.cache, { recursive: true });
  const partPath = join(paths.cache, `plugin-${randomUUID()}.part`);
  try {
    await downloadFile({
      url,
      checksum: undefined,
      sizeBytes: 0,
      partPath,
      refuses: refusesAddress,
      signal,
      onProgress: () => undefined,
    });
    await files.place(partPath, pathOf(server, fileName));
  } finally {
    await rm(partPath, { force: true });
  }
}

async function listPlugins({ files }: RpcDeps, server: ManagedServer): Promise<PluginInfo[]> {
  let listed: ListedFile[];
  try {
    listed = await files.list(`${server.id}/${FOLDER}`, false);
  } catch (error) {
    if (error instanceof AgentError && error.code === 'file-not-found') return [];
    throw error;
  }
  const jars = listed.filter(({ name, stats }) => stats.isFile() && /\.jar(\.disabled)?$/.test(name));
  return Promise.all(jars.map(jar => describePlugin(server, jar)));
}

/** By its own name, or by its file's. */
async function findPlugin(deps: RpcDeps, server: ManagedServer, wanted: string): Promise<PluginInfo> {
  const plugins = await listPlugins(deps, server);
  const found = plugins.find(({ fileName }) =>
    [wanted, `${wanted}.jar`, `${wanted}.jar${DISABLED}`].includes(fileName),
  );
  const named = found ?? plugins.find(({ name }) => name.toLowerCase() === wanted.toLowerCase());
  if (!named) throw new AgentError('file-not-found', 'the server has no such plugin');
  return named;
}

async function describePlugin(server: ManagedServer, { name, stats }: ListedFile): Promise<PluginInfo> {
  const path = join(server.paths.folder, FOLDER, name);
  const manifest = (await readJarEntry(path, 'plugin.yml')) ?? (await readJarEntry(path, 'paper-plugin.yml'));
  const text = manifest?.toString('utf8') ?? '';
  return {
    name: yamlValue(text, 'name') ?? name.replace(/\.jar(\.disabled)?$/, ''),
    version: yamlValue(text, 'version') ?? '',
    description: yamlValue(text, 'description') ?? '',
    author: yamlValue(text, 'author') ?? '',
    enabled: !name.endsWith(DISABLED),
    fileName: name,
    fileSize: stats.size,
    installedAt: Math.floor(stats.mtimeMs / 1000),
    dependencies: yamlList(text, 'depend'),
  };
}

/** Top-level scalars only: all that is asked of a plugin.yml here. */
function yamlValue(text: string, key: string): string | undefined {
  return new RegExp(`^${key}:[ \\t]*(?:"([^"\\n]*)"|'([^'\\n]*)'|([^\\n#]+))`, 'm')
    .exec(text)
    ?.slice(1)
    .find(value => value !== undefined)
    ?.trim();
}

function yamlList(text: string, key: string): string[] {
  const inline = new RegExp(`^${key}:[ \\t]*\\[([^\\]]*)\\]`, 'm').exec(text)?.[1];
  const block = new RegExp(`^${key}:[ \\t]*\\n((?:[ \\t]*-[^\\n]*\\n?)+)`, 'm').exec(text)?.[1];
  const items = inline?.split(',') ?? block?.split('\n') ?? [];
  return items
    .map(item =>
      item
        .replace(/^[ \t]*-/, '')
        .replace(/["']/g, '')
        .trim(),
    )
    .filter(Boolean);
}
