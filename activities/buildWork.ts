import {
  ArtifactKind,
  type JavaPackage,
  type ProvisionWork,
  type ServerSettings,
  type WorkRequest,
} from '#proto/gen/agent.js';
import type { AgentWork, AgentWorkInput } from '#src/contracts/activities.js';
import { isBesideCurrent } from '#src/db/carryOperation.js';
import type { WorkSubject } from '#src/db/workSubject.js';
import { softwareAfter } from '#src/db/upgrades.js';
import { splitArguments } from '#src/domain/javaArguments.js';
import { refusesNewerJava, requiredJavaMajor } from '#src/domain/javaVersion.js';
import type { JavaWish } from '#src/domain/javaRuntimes.js';
import { livesUnderLease } from '#src/domain/leases.js';
import { AppError, assertNever } from '#src/domain/errors.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import type { Artifact } from '#src/provisioning/artifact.js';
import type { ResolveArtifact } from '#src/provisioning/resolveArtifact.js';

/** Where what a server is made of comes from. */
export interface WorkSources {
  resolveArtifact: ResolveArtifact;
  findMissingJava: (agent: AgentRow, wish: JavaWish) => Promise<JavaPackage | undefined>;
  findJava: (agent: AgentRow, wish: JavaWish) => Promise<JavaPackage>;
  /** Asks the agent itself before it says no. */
  can: (agent: AgentRow, capability: string) => Promise<boolean>;
}

/** What a server's jar is called in its folder, whatever its upstream calls it: a start names it, too. */
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
  { operation, server: recorded, agent }: WorkSubject,
  sources: WorkSources,
): Promise<WorkRequest['work']> {
  if (work === 'installJava') {
    const wish = { major: versionIn(operation.params), pinned: true };
    return { $case: 'installJava', installJava: { java: await sources.findJava(agent, wish) } };
  }
  if (!recorded) throw new AppError('internal', { detail: 'The operation has no server' });
  const server = input.upgraded ? { ...recorded, ...softwareAfter(recorded, operation.params) } : recorded;
  switch (work) {
    case 'provision':
      return { $case: 'provision', provision: await provisionWork(server, agent, sources) };
    case 'stage':
      if (!(await sources.can(agent, 'upgrade')))
        throw new AppError('agent-unsupported', {
          detail: 'This agent keeps no copy of a server to go back to',
        });
      return { $case: 'stage', stage: await provisionWork(server, agent, sources) };
    case 'snapshot':
      return { $case: 'snapshot', snapshot: {} };
    case 'revert':
      return { $case: 'revert', revert: {} };
    case 'discard':
      return { $case: 'discard', discard: {} };
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
      // One that has not taken the place of the current operation leaves it that.
      return { $case: 'kill', kill: { beside: isBesideCurrent(operation, recorded) } };
    case 'delete':
      return { $case: 'delete', delete: {} };
    default:
      return assertNever(work);
  }
}

/** Checked when it was accepted. */
function versionIn({ version }: Record<string, unknown>): number {
  if (typeof version === 'number') return version;
  throw new AppError('internal', { detail: 'The operation names no version' });
}

async function provisionWork(
  server: ServerRow,
  agent: AgentRow,
  { resolveArtifact, findMissingJava }: WorkSources,
): Promise<ProvisionWork> {
  const artifact = await resolveArtifact(server);
  const java = javaToInstall(server, artifact);
  return {
    artifact: {
      url: artifact.url,
      sha512: artifact.sha512 ?? '',
      sha256: artifact.sha256 ?? '',
      sha1: artifact.sha1 ?? '',
      md5: artifact.md5 ?? '',
      sizeBytes: artifact.size ?? 0,
      fileName: JAR_FILE,
      kind: ARTIFACT_KINDS[artifact.kind ?? 'jar'],
      javaMajor: artifact.javaMajor ?? 0,
      contact: artifact.contact ?? '',
    },
    settings: settingsOf(server),
    minecraftVersion: server.version,
    java: await findMissingJava(agent, java),
    javaMajor: java.major,
    javaPinned: java.pinned,
    serverType: server.server_type,
  };
}

/** Servers run on newer ones than the lowest; BuildTools refuse those, so they get the lowest itself. */
function javaToInstall(server: ServerRow, { kind, javaMajor }: Artifact): JavaWish {
  const wish = javaToStart(server);
  if (wish.pinned || javaMajor === undefined) return wish;
  return { major: javaMajor, pinned: kind === 'build-tools' };
}

/** The operator's, else what the Minecraft version is known to need: the agent knows what its upstream has said. */
function javaToStart({ java_version, server_type, version }: ServerRow): JavaWish {
  if (java_version !== null) return { major: java_version, pinned: true };
  return { major: requiredJavaMajor(version), pinned: refusesNewerJava(server_type, version) };
}

function startWork(server: ServerRow, agent: AgentRow) {
  const java = javaToStart(server);
  return {
    settings: settingsOf(server),
    memoryMinMb: server.memory_min,
    memoryMaxMb: server.memory_max,
    javaArgs: splitArguments(server.java_args ?? ''),
    jarFile: JAR_FILE,
    javaMajor: java.major,
    javaPinned: java.pinned,
    readyTimeoutSeconds: READY_TIMEOUT_S,
    serverType: server.server_type,
    leased: livesUnderLease(server.failover_policy, agent.capabilities),
  };
}

function settingsOf(server: ServerRow): ServerSettings {
  if (server.port === null) throw new AppError('internal', { detail: 'The server has no port' });
  return { port: server.port, maxPlayers: server.max_players, eulaAccepted: server.accept_eula };
}
