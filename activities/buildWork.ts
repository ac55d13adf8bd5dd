import { ArtifactKind, type ProvisionWork, type ServerSettings, type WorkRequest } from '#proto/gen/agent.js';
import type { AgentWork, AgentWorkInput } from '#src/contracts/activities.js';
import type { WorkSubject } from '#src/db/workSubject.js';
import { splitArguments } from '#src/domain/javaArguments.js';
import { requiredJavaMajor } from '#src/domain/javaVersion.js';
import { livesUnderLease } from '#src/domain/leases.js';
import { AppError, assertNever } from '#src/domain/errors.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import type { Artifact } from '#src/provisioning/artifact.js';
import type { ResolveArtifact } from '#src/provisioning/resolveArtifact.js';

const JAR_FILE = 'server.jar';
/** Below the activity's schedule-to-close of 10 min, so that the agent says what happened and not a time-out here. */
const READY_TIMEOUT_S = 540;
const STOP_CONSOLE_S = 30;
const STOP_TERM_S = 15;

const ARTIFACT_KINDS = {
  jar: ArtifactKind.JAR,
  'forge-installer': ArtifactKind.FORGE_INSTALLER,
  'build-tools': ArtifactKind.BUILD_TOOLS,
} as const satisfies Record<NonNullable<Artifact['kind']>, ArtifactKind>;

/** What the agent is told, from the rows as they are now. Rejects with `artifact-unknown` and the upstreams' errors. */
export async function buildWork(
  work: AgentWork,
  input: AgentWorkInput,
  { server, agent }: WorkSubject,
  resolveArtifact: ResolveArtifact,
): Promise<WorkRequest['work']> {
  switch (work) {
    case 'provision':
      return { $case: 'provision', provision: await provisionWork(server, resolveArtifact) };
    case 'start':
      return { $case: 'start', start: startWork(server, agent) };
    case 'stop':
      return {
        $case: 'stop',
        stop: {
          consoleSeconds: STOP_CONSOLE_S,
          termSeconds: STOP_TERM_S,
          runId: input.ofRun === undefined ? '' : `${input.operationId}/${input.ofRun}`,
        },
      };
    case 'kill':
      return { $case: 'kill', kill: {} };
    case 'delete':
      return { $case: 'delete', delete: {} };
    default:
      return assertNever(work);
  }
}

async function provisionWork(server: ServerRow, resolveArtifact: ResolveArtifact): Promise<ProvisionWork> {
  const artifact = await resolveArtifact(server);
  return {
    artifact: {
      url: artifact.url,
      sha512: artifact.sha512 ?? '',
      sha256: artifact.sha256 ?? '',
      sha1: artifact.sha1 ?? '',
      md5: artifact.md5 ?? '',
      sizeBytes: artifact.size ?? 0,
      fileName: artifact.fileName,
      kind: ARTIFACT_KINDS[artifact.kind ?? 'jar'],
    },
    settings: settingsOf(server),
    minecraftVersion: server.version,
    java: undefined,
    serverType: server.server_type,
  };
}

function startWork(server: ServerRow, agent: AgentRow) {
  return {
    settings: settingsOf(server),
    memoryMinMb: server.memory_min,
    memoryMaxMb: server.memory_max,
    javaArgs: splitArguments(server.java_args ?? ''),
    jarFile: JAR_FILE,
    javaMajor: server.java_version ?? requiredJavaMajor(server.version),
    javaPinned: server.java_version !== null,
    readyTimeoutSeconds: READY_TIMEOUT_S,
    serverType: server.server_type,
    leased: livesUnderLease(server.failover_policy, agent.capabilities),
  };
}

function settingsOf(server: ServerRow): ServerSettings {
  if (server.port === null) throw new AppError('internal', { detail: 'The server has no port' });
  return { port: server.port, maxPlayers: server.max_players, eulaAccepted: server.accept_eula };
}
