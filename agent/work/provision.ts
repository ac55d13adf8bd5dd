import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ArtifactKind, type ProvisionWork } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import type { JavaInstaller } from '../java/install.js';
import type { BuildTools } from './buildTools.js';
import { installForge } from './installForge.js';
import type { InstallerDeps } from './installerJar.js';
import { installBuilt, installJar } from './installJar.js';
import { type InstallOrder, type Installation, parseOrder } from './order.js';
import { applySettings } from './settings.js';
import type { StepContext } from './step.js';

export interface ProvisionDeps extends InstallerDeps {
  readonly buildTools: BuildTools;
  readonly javaInstaller: JavaInstaller;
}

/**
 * Puts what a server is started with, and the files of a first start, in place. Looks before it acts, so taking it up
 * again after a crash of ours does only what is still missing. What is installed goes into the server's folder by
 * renames, when it is whole and verified: until then the old install stands. A cancel keeps what has been downloaded.
 */
export async function provisionServer(
  deps: ProvisionDeps,
  context: StepContext,
  work: ProvisionWork,
): Promise<void> {
  const { server, report } = context;
  const order = parseOrder(work);
  const { settings } = work;
  await server.look();
  if (server.alive) throw new AgentError('server-running', 'a running server is not provisioned');
  await mkdir(server.paths.folder, { recursive: true });
  if (work.java) await deps.javaInstaller.ensure(work.java, context);
  report({ phase: 'checking' });
  const installation = await install(deps, context, order);
  if (settings) await applySettings(server.paths.folder, settings);
  await server.saveFacts({
    ...installation,
    javaMajor: order.javaMajor,
    ...(settings && { port: settings.port }),
  });
  await rm(join(deps.paths.installs, server.id), { recursive: true, force: true });
}

function install(deps: ProvisionDeps, context: StepContext, order: InstallOrder): Promise<Installation> {
  switch (order.kind) {
    case ArtifactKind.JAR:
      return installJar(deps.cache, context, order);
    case ArtifactKind.FORGE_INSTALLER:
      return installForge(deps, context, order);
    case ArtifactKind.BUILD_TOOLS:
      return installBuilt(deps.buildTools, context, order);
    default:
      throw new AgentError('invalid-request', 'there is no such kind of artifact');
  }
}
