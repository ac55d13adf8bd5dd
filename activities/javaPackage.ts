import type { JavaPackage } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import type { AgentFacts } from '#src/db/agentHealth.js';
import type { Database } from '#src/db/connect.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { hasJava, type JavaWish, type Platform, platformOf } from '#src/domain/javaRuntimes.js';
import type { FindJava } from '#src/provisioning/adoptium.js';
import { factsOf, greet } from './health.js';

export interface JavaDeps {
  db: Database;
  gateway: AgentGateway;
  bus: Bus;
  openToken: (sealed: string) => string;
  findJava: FindJava;
  /** A web or mail address that the host of the archive is told. */
  contact: string;
}

const HELLO_DEADLINE_MS = 5_000;

/**
 * The Java that the agent lacks; undefined when it has one that fits, when there is none for its platform, or when it
 * does not say which that is: a start then names what is missing. Rejects with `upstream-failed`.
 */
export async function findMissingJava(
  deps: JavaDeps,
  agent: AgentRow,
  wish: JavaWish,
): Promise<JavaPackage | undefined> {
  if (hasJava(agent.capabilities, wish)) return undefined;
  const { os, capabilities } = (await greetAnew(deps, agent)) ?? agent;
  return hasJava(capabilities, wish) ? undefined : findPackage(deps, wish, platformOf(os, capabilities));
}

/**
 * Whatever the agent has. Rejects with `artifact-unknown` where there is none for it, `agent-unsupported` where it does
 * not say what it runs on, and `upstream-failed`.
 */
export async function findJavaFor(deps: JavaDeps, agent: AgentRow, wish: JavaWish): Promise<JavaPackage> {
  const { os, capabilities } = (await greetAnew(deps, agent)) ?? agent;
  const platform = platformOf(os, capabilities);
  if (!platform)
    throw new AppError('agent-unsupported', { detail: 'The agent does not say what it runs on' });
  const found = await findPackage(deps, wish, platform);
  if (found) return found;
  throw new AppError('artifact-unknown', { detail: `Adoptium has no Java ${wish.major} for this agent` });
}

async function findPackage(
  { findJava, contact }: JavaDeps,
  wish: JavaWish,
  platform: Platform | null,
): Promise<JavaPackage | undefined> {
  const found = platform && (await findJava(wish.major, platform));
  return found
    ? { ...wish, url: found.url, sha256: found.sha256, sizeBytes: found.size, contact }
    : undefined;
}

/** What the agent says of itself now, which is recorded; null when it does not answer: that is for others to handle. */
export async function greetAnew(
  deps: Omit<JavaDeps, 'findJava' | 'contact'>,
  agent: AgentRow,
): Promise<AgentFacts | null> {
  try {
    const address = agentAddress(agent, deps.openToken);
    const hello = await deps.gateway.hello(address, { deadlineMs: HELLO_DEADLINE_MS });
    await greet(deps, agent, hello);
    return factsOf(hello);
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}
