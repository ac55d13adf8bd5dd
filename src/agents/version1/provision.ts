import { createHash } from 'node:crypto';
import { AgentServiceService, ArtifactKind, type Artifact, type ProvisionWork } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { isFetchedByVersion1 } from '#src/domain/installation.js';
import { folderOf, workDirOf } from './looks.js';
import { applySettings } from './settings.js';
import { insist, type Step, type StepDeps } from './step.js';

/** Strongest first. */
const HASHES = ['sha512', 'sha256', 'sha1', 'md5'] as const;
const READABLE_BYTES = 8 * 1024 * 1024;
const NO_INSTALLER =
  'The agent is of version 1 and runs no installers: name a jar_url, or use an agent of version 2 for Forge';
/** Without a word from the agent's download. */
const IDLE_MS = 120_000;

/**
 * Puts the jar and the files of a first start in place. A jar of the promised size that is there already stays: so a retry
 * does not fetch it again, and what these agents can't fetch can be put there by hand.
 */
export function provisionServer(deps: StepDeps, step: Step, work: ProvisionWork): Promise<void> {
  return insist(step, () => provisionOnce(deps, step, work));
}

async function provisionOnce(deps: StepDeps, step: Step, work: ProvisionWork): Promise<void> {
  const { agent, serverId, options } = step;
  workDirOf(agent);
  const { artifact } = work;
  if (!artifact) throw new AppError('invalid-request', { detail: 'The provision names no artefact' });
  if (artifact.kind === ArtifactKind.FORGE_INSTALLER)
    throw new AppError('agent-unsupported', { detail: NO_INSTALLER });
  const present = await deps.looks.jarBytes(agent, serverId, options);
  const canDownload = artifact.kind === ArtifactKind.JAR && isFetchedByVersion1(work.serverType);
  if (present === 0 || (artifact.sizeBytes > 0 ? present !== artifact.sizeBytes : canDownload)) {
    if (!canDownload) throw unsupported(step, work.serverType);
    await download(deps, step, artifact, work);
  }
  await assertArtifact(deps, step, artifact);
  step.report({ phase: 'configuring' });
  if (work.settings) await applySettings(deps.calls, agent, serverId, work.settings, options);
}

async function download(
  deps: StepDeps,
  { agent, serverId, options, report }: Step,
  artifact: Artifact,
  { serverType, minecraftVersion }: ProvisionWork,
): Promise<void> {
  const request = {
    url: artifact.url,
    destination: `${folderOf(agent, serverId)}/server.jar`,
    sha256: artifact.sha256,
    serverType,
    version: minecraftVersion,
  };
  const method = AgentServiceService.downloadServer;
  // As long as it moves.
  const { deadlineMs: _, ...endless } = options;
  for await (const progress of deps.calls.download({
    agent,
    method,
    request,
    options: endless,
    idleMs: IDLE_MS,
  })) {
    if (progress.error !== '') {
      const code = /checksum|sha-?256/i.test(progress.error) ? 'checksum-mismatch' : 'upstream-refused';
      throw new AppError(code, { detail: `The agent could not download the server: ${progress.error}` });
    }
    if (progress.complete) return;
    const { percent, downloaded, total } = progress;
    report({ phase: 'downloading', percent, bytesDone: downloaded, bytesTotal: total });
  }
  throw new AppError('agent-unreachable', { detail: 'The agent ended the download without a word' });
}

/**
 * They are given the hash, but do not tell whether they have compared it. The size can be seen; the content only of a jar
 * that fits into one message.
 */
async function assertArtifact(
  { calls, looks }: StepDeps,
  { agent, serverId, options }: Step,
  artifact: Artifact,
): Promise<void> {
  const bytes = await looks.jarBytes(agent, serverId, options);
  if (bytes === 0) throw new AppError('agent-failed', { detail: 'The agent has downloaded no server.jar' });
  if (artifact.sizeBytes > 0 && bytes !== artifact.sizeBytes) {
    const detail = `The jar has ${bytes} bytes, and ${artifact.sizeBytes} were promised`;
    throw new AppError('checksum-mismatch', { detail });
  }
  const [algorithm] = HASHES.filter(name => artifact[name] !== '');
  if (!algorithm || bytes > READABLE_BYTES) return;
  const request = { path: `${folderOf(agent, serverId)}/server.jar`, offset: 0, length: 0 };
  const { content } = await calls.unary({ agent, method: AgentServiceService.readFile, request, options });
  if (createHash(algorithm).update(content).digest('hex') !== artifact[algorithm]) {
    throw new AppError('checksum-mismatch');
  }
}

function unsupported({ agent, serverId }: Step, serverType: string): AppError {
  const path = `${folderOf(agent, serverId)}/server.jar`;
  return new AppError('agent-unsupported', {
    detail: `The agent is of version 1 and downloads paper and purpur only: put the jar of this ${serverType} server at ${path} and provision again, or use an agent of version 2`,
  });
}
