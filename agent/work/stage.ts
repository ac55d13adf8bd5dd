import { ArtifactKind, type ProvisionWork } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { stageForge } from './installForge.js';
import { fetchArtifact, parseOrder } from './order.js';
import type { ProvisionDeps } from './provision.js';
import type { StepContext } from './step.js';

/**
 * Downloads, verifies, and runs the installers of a provision, all of it beside the server, which may run. The provision
 * that follows finds it in the cache or in the server's staging folder; one that does not, does it again.
 */
export async function stageInstall(
  deps: ProvisionDeps,
  context: StepContext,
  work: ProvisionWork,
): Promise<void> {
  const order = parseOrder(work);
  if (work.java) await deps.javaInstaller.ensure(work.java, context);
  switch (order.kind) {
    case ArtifactKind.JAR:
      await fetchArtifact(deps.cache, order, context);
      return;
    case ArtifactKind.FORGE_INSTALLER:
      await stageForge(deps, context, order);
      return;
    case ArtifactKind.BUILD_TOOLS:
      await deps.buildTools.jarOf(order, context);
      return;
    default:
      throw new AgentError('invalid-request', 'there is no such kind of artifact');
  }
}
