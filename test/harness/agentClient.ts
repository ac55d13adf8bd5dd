import { type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { AgentServiceClient } from '#proto/gen/agent.js';
import type { AgentProcess } from './agentProcess.js';

type Answer<T> = (error: ServiceError | null, response: T) => void;

/** A bare client of an agent, for what the gateway does not offer: version 1 as its old callers use it. */
export interface AgentClient {
  readonly raw: AgentServiceClient;
  /** With the token, and whatever else is given. */
  metadata(more?: Record<string, string>): Metadata;
  /** Turns a unary call with a callback into a promise. */
  call<T>(start: (metadata: Metadata, answer: Answer<T>) => void, more?: Record<string, string>): Promise<T>;
  close(): void;
}

export function connectAgent(agent: AgentProcess): AgentClient {
  const raw = new AgentServiceClient(agent.address, credentials.createInsecure());
  const metadata = (more: Record<string, string> = {}): Metadata => {
    const result = new Metadata();
    if (agent.token !== null) result.set('authorization', `Bearer ${agent.token}`);
    for (const [key, value] of Object.entries(more)) result.set(key, value);
    return result;
  };
  return {
    raw,
    metadata,
    call: <T>(start: (m: Metadata, answer: Answer<T>) => void, more?: Record<string, string>) =>
      new Promise<T>((resolve, reject) => {
        start(metadata(more), (error, response) => (error ? reject(error) : resolve(response)));
      }),
    close: () => raw.close(),
  };
}

/** Everything that a stream of answers brings, until it ends. */
export async function collect<T>(stream: ClientReadableStream<T>): Promise<T[]> {
  const messages: T[] = [];
  stream.on('data', (message: T) => messages.push(message));
  await new Promise<void>((resolve, reject) => {
    stream.once('end', resolve);
    stream.once('error', reject);
  });
  return messages;
}
