import type {
  InstallPluginRequest,
  ListPluginsRequest,
  PluginInfo,
  PluginList,
  PluginResponse,
  UninstallPluginRequest,
  UpdatePluginRequest,
} from '#proto/gen/agent.js';
import type { Version1Files } from './version1Files.js';

const FAKE_PLUGIN_BYTES = 1_234;
const PLUGIN = /\.jar(?:\.disabled)?$/;

/**
 * Plugins as version 1 has them: jars in a server's folder `plugins`, known by the names of their files, whether the server
 * runs or not. What it refuses it answers with OK and `success: false`; a restart that is asked for ends as its restarts do.
 */
export class Version1Plugins {
  constructor(
    private readonly files: Version1Files,
    private readonly restart: (serverId: string) => Promise<void>,
  ) {}

  list({ serverId, includeDisabled }: ListPluginsRequest): PluginList {
    const plugins = this.#of(serverId).filter(({ enabled }) => enabled || includeDisabled);
    return { plugins, total: plugins.length };
  }

  install({ serverId, pluginName, fileName, downloadUrl, autoRestart }: InstallPluginRequest) {
    return this.#place(serverId, fileName || `${pluginName}.jar`, downloadUrl, autoRestart);
  }

  /** The old one goes first. */
  async update(request: UpdatePluginRequest): Promise<PluginResponse> {
    const { serverId, pluginName, fileName, downloadUrl, autoRestart } = request;
    const old = this.#find(serverId, pluginName);
    if (!old) return missing(pluginName);
    this.files.remove(pathOf(serverId, old.fileName));
    return this.#place(serverId, fileName || old.fileName, downloadUrl, autoRestart);
  }

  async uninstall({ serverId, pluginName, autoRestart }: UninstallPluginRequest): Promise<PluginResponse> {
    const plugin = this.#find(serverId, pluginName);
    if (!plugin) return missing(pluginName);
    this.files.remove(pathOf(serverId, plugin.fileName));
    if (autoRestart) await this.restart(serverId);
    return { success: true, message: 'Plugin uninstalled', plugin };
  }

  async #place(
    serverId: string,
    fileName: string,
    url: string,
    autoRestart: boolean,
  ): Promise<PluginResponse> {
    if (!/^https?:/.test(url)) {
      return {
        success: false,
        message: 'failed to download: unsupported protocol scheme',
        plugin: undefined,
      };
    }
    this.files.put(pathOf(serverId, fileName), Buffer.alloc(FAKE_PLUGIN_BYTES));
    if (autoRestart) await this.restart(serverId);
    return { success: true, message: 'Plugin installed', plugin: this.#find(serverId, fileName) };
  }

  #find(serverId: string, wanted: string): PluginInfo | undefined {
    return this.#of(serverId).find(({ name, fileName }) => name === wanted || fileName === wanted);
  }

  #of(serverId: string): PluginInfo[] {
    const folder = `${serverId}/plugins`;
    const listed = this.files.has(folder) ? this.files.list(folder) : [];
    return listed
      .filter(({ name, isDir }) => !isDir && PLUGIN.test(name))
      .map(({ name: fileName, size, modifiedTime }) => ({
        name: fileName.replace(PLUGIN, ''),
        version: '',
        description: '',
        author: '',
        enabled: fileName.endsWith('.jar'),
        fileName,
        fileSize: size,
        installedAt: modifiedTime,
        dependencies: [],
      }));
  }
}

function missing(name: string): PluginResponse {
  return { success: false, message: `plugin ${name} not found`, plugin: undefined };
}

function pathOf(serverId: string, fileName: string): string {
  return `${serverId}/plugins/${fileName}`;
}
